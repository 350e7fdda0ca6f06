"""The log is told of every signing key once, whoever looks and however often."""

from collections.abc import Mapping, Sequence

import pytest

from application.audit.signing_key_records import ACTOR, SigningKeyRecords
from application.ports import CommitFailed
from domain.ids import PLATFORM
from domain.signing_key import (
    KeptKey,
    SigningKeyDistrusted,
    SigningKeyEvent,
    SigningKeyMade,
    stream_id,
)
from tests.application.world import World, raising
from tests.builders import NOW

FIRST = KeptKey(number=1, kid="k1", signs_from=NOW)
SECOND = KeptKey(number=2, kid="k2", signs_from=NOW)
FAMILY = "access_token"


class Book:
    """`SigningKeyBook`: what a test says there is."""

    def __init__(self, *keys: KeptKey) -> None:
        self.keys = keys

    async def kept(self) -> Mapping[str, Sequence[KeptKey]]:
        return {FAMILY: self.keys, "user_token": [FIRST]}


def made(key: KeptKey) -> SigningKeyMade:
    return SigningKeyMade(family=FAMILY, number=key.number, kid=key.kid, signs_from=key.signs_from)


def recorded(world: World) -> list[SigningKeyEvent]:
    found = [each.event for each in world.log.stream(stream_id(FAMILY))]
    return [each for each in found if isinstance(each, SigningKeyMade | SigningKeyDistrusted)]


async def test_each_key_is_recorded_once_and_its_distrust_too() -> None:
    world, book = World(), Book(FIRST)
    records = SigningKeyRecords(world.log, book, world.ids)
    await records.round()
    book.keys = (FIRST, SECOND)
    await records.round()
    await records.round()
    assert recorded(world) == [made(FIRST), made(SECOND)]
    book.keys = (KeptKey(number=1, kid="k1", signs_from=NOW, distrusted=True), SECOND)
    await records.round()
    await records.round()
    assert recorded(world)[2:] == [SigningKeyDistrusted(family=FAMILY, number=1, kid="k1")]
    (first, *_) = world.log.stream(stream_id(FAMILY))
    assert (first.actor, first.tenant_id) == (ACTOR, PLATFORM)


async def test_what_could_not_be_recorded_is_recorded_by_the_next_who_looks() -> None:
    world = World()
    records = SigningKeyRecords(world.log, Book(FIRST, SECOND), world.ids)
    world.log.before(SigningKeyMade, raising(CommitFailed("the line was cut")))
    with pytest.raises(CommitFailed):
        await records.round()
    await SigningKeyRecords(world.log, Book(FIRST, SECOND), world.ids).round()
    assert recorded(world) == [made(FIRST), made(SECOND)]
