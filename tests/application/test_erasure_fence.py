"""Whoever is to be erased is asked about no more, also by a process that lags behind."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar
from uuid import UUID

import pytest

from application.palms.comparisons import Compared
from application.ports import EventLog
from domain import transaction as x
from domain.comparison import IdentificationCompleted, VerificationCompleted
from domain.events import DomainEvent, Recorded
from domain.ids import TenantId
from tests.application.doors import Door, FenceOpen
from tests.application.memory_log import MemoryEventLog
from tests.application.world import (
    ALI,
    BACKEND,
    KEY,
    TENANT_KEY,
    Killed,
    World,
    kill,
    scan,
    transaction,
)
from tests.builders import PALM, USER

S = TypeVar("S")


class Lagging(Door):
    """A process whose tail is behind: states in memory are as the log was when it fell behind."""

    def __init__(self, log: MemoryEventLog) -> None:
        super().__init__(log)
        self._seen = len(log.read_now())

    async def state(
        self, tenant_id: TenantId, stream_id: UUID, rebuild: Callable[[Sequence[Recorded]], S]
    ) -> S:
        past = await self.log.load(tenant_id, stream_id)
        return rebuild([each for each in past if each.position <= self._seen])


class LaggingWithoutFence(Lagging, FenceOpen):
    """Behind, and not kept out."""


async def test_a_process_that_is_behind_asks_no_product_about_somebody_erased() -> None:
    world = World()
    behind = world.broker(Lagging(world.log))
    await world.erasures().request(BACKEND, USER)
    # The vendor has no template any more, but its answer may be of before.
    world.palms.enrolled[TENANT_KEY, PALM] = ALI
    reply = await world.transact(broker=behind)
    assert (reply.answer.decision, reply.answer.reason) == ("deny", "user_erased")
    assert world.product.calls == []
    assert world.names(transaction(KEY)) == [
        "transaction.received",
        "transaction.identified",
        "transaction.refused",
    ]


async def test_without_the_fence_the_product_would_be_asked() -> None:
    """The bug that the test above must catch."""
    world = World()
    behind = world.broker(LaggingWithoutFence(world.log))
    await world.erasures().request(BACKEND, USER)
    world.palms.enrolled[TENANT_KEY, PALM] = ALI
    assert (await world.transact(broker=behind)).answer.decision == "allow"
    assert len(world.product.calls) == 1


async def test_an_erasure_between_the_look_and_the_intent_is_met_by_the_intent() -> None:
    world = World()

    async def erase() -> None:
        await world.erasures().request(BACKEND, USER)

    world.log.before(x.TransactionAuthorizationRequested, erase)
    reply = await world.transact()
    assert (reply.answer.decision, reply.answer.reason) == ("deny", "user_erased")
    assert world.product.calls == []


async def test_a_process_that_is_behind_takes_nothing_over_for_somebody_erased() -> None:
    """The attempt that died may have asked: the product is owed a void."""
    world = World()
    world.log.after(x.TransactionAuthorizationRequested, kill)
    with pytest.raises(Killed):
        await world.transact()
    behind = world.broker(Lagging(world.log))
    await world.erasures().request(BACKEND, USER)
    world.clock.advance(60)
    reply = await world.transact(broker=behind)
    assert (reply.answer.decision, reply.answer.reason) == ("deny", "user_erased")
    assert world.product.calls == []
    refused = world.events(transaction(KEY))[-1]
    assert isinstance(refused, x.TransactionRefused)
    assert refused.void_needed


async def compared(world: World, log: EventLog, kind: type[DomainEvent]) -> Compared:
    """A comparison by a process with this log, when Ali's erasure begins as it is to be kept."""

    async def erase() -> None:
        await world.erasures().request(BACKEND, USER)

    world.log.before(kind, erase)
    comparisons = world.comparisons(log)
    if kind is VerificationCompleted:
        return await comparisons.verify(BACKEND, USER, scan(ALI), KEY)
    return await comparisons.identify(BACKEND, scan(ALI), KEY)


COMPARISONS: Final = (VerificationCompleted, IdentificationCompleted)


@pytest.mark.parametrize("kind", COMPARISONS)
async def test_nobody_is_told_of_a_match_with_somebody_erased_meanwhile(
    kind: type[DomainEvent],
) -> None:
    world = World()
    found = await compared(world, world.log, kind)
    assert (found.completed.result, found.completed.reason) == ("refused", "user_erased")
    assert found.confidence is None
    assert world.events(found.id) == [found.completed]
    repeated = await compared(world, world.log, kind)
    assert repeated.completed == found.completed


@pytest.mark.parametrize("kind", COMPARISONS)
async def test_without_the_fence_the_match_would_be_told(kind: type[DomainEvent]) -> None:
    """The bug that the test above must catch."""
    world = World()
    found = await compared(world, FenceOpen(world.log), kind)
    assert found.completed.result == "match"
