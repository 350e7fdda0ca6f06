"""Signing keys, as the log knows them: which key of a family was made, from when it signs, and
which are believed no more.

The keys themselves are kept elsewhere, and the families go on by their clocks whether the log can
be written or not. So it is told what was done, within a minute, by whoever looks.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar
from uuid import UUID, uuid5

import msgspec

from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent
from domain.ids import PLATFORM


class SigningKeyMade(DomainEvent, frozen=True, kw_only=True):
    """A family has one more key: published at once as `kid`, and signing from `signs_from` on."""

    NAME: ClassVar[str] = "signing_key.made"
    family: str
    number: int
    kid: str
    signs_from: datetime


class SigningKeyDistrusted(DomainEvent, frozen=True, kw_only=True):
    """Nothing that was signed with this key is believed any more: somebody else may have it."""

    NAME: ClassVar[str] = "signing_key.distrusted"
    family: str
    number: int
    kid: str


SigningKeyEvent = SigningKeyMade | SigningKeyDistrusted


class KeptKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that there is; keys of a family are numbered from 1."""

    number: int
    kid: str
    signs_from: datetime
    distrusted: bool = False


class RecordedKeys(msgspec.Struct, frozen=True, kw_only=True):
    """What the log knows of one family."""

    version: int = 0
    made: frozenset[int] = frozenset()
    distrusted: frozenset[int] = frozenset()


def stream_id(family: str) -> UUID:
    """The stream of a family; there is one of each in a platform."""
    return uuid5(PLATFORM, f"signing_keys:{family}")


def record(known: RecordedKeys, family: str, kept: Sequence[KeptKey]) -> list[SigningKeyEvent]:
    """What the log has yet to be told of these keys, the oldest first."""
    made = [
        SigningKeyMade(family=family, number=each.number, kid=each.kid, signs_from=each.signs_from)
        for each in kept
        if each.number not in known.made
    ]
    distrusted = [
        SigningKeyDistrusted(family=family, number=each.number, kid=each.kid)
        for each in kept
        if each.distrusted and each.number not in known.distrusted
    ]
    return [*made, *distrusted]


def rebuild(past: Iterable[Recorded]) -> RecordedKeys:
    keys = RecordedKeys()
    for recorded in past:
        keys = _evolve(keys, recorded)
    return keys


def _evolve(keys: RecordedKeys, recorded: Recorded) -> RecordedKeys:
    replace = msgspec.structs.replace
    match recorded.event:
        case SigningKeyMade() as event:
            return replace(keys, version=recorded.version, made=keys.made | {event.number})
        case SigningKeyDistrusted() as event:
            return replace(
                keys, version=recorded.version, distrusted=keys.distrusted | {event.number}
            )
        case other:
            raise UnexpectedEvent(other)
