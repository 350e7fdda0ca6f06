"""What devices leave undecided is closed without them, once, and the product is owed a void."""

import asyncio

import pytest

from application.ports import Authorized, CommitFailed
from domain import transaction as x
from tests.application.test_broker_takeover import CRASHES, LEASE_S
from tests.application.world import TILL, Killed, World, asking, kill, raising, transaction


async def _left_behind(world: World, key: str | None = None) -> None:
    world.log.after(x.TransactionAuthorizationRequested, kill)
    request = asking() if key is None else asking(key=key)
    with pytest.raises(Killed):
        await world.transact(request)


def _state(world: World) -> x.Transaction:
    state = x.rebuild(world.log.stream(transaction()))
    assert state is not None
    return state


async def test_a_transaction_is_left_to_its_device_for_a_while() -> None:
    world = World()
    await _left_behind(world)
    world.clock.advance(LEASE_S + 5)
    assert await world.sweeper().sweep() == 0
    world.clock.advance(0.001)
    assert await world.sweeper().sweep() == 1
    assert (_state(world).void, world.names(transaction())[-1]) == (
        "owed",
        "transaction.failed_closed",
    )
    assert await world.sweeper().sweep() == 0


async def test_a_device_that_comes_back_after_the_sweeper_hears_that_it_is_too_late() -> None:
    world = World()
    await _left_behind(world)
    world.clock.advance(LEASE_S + 6)
    await world.sweeper().sweep()
    answer = (await world.transact()).answer
    assert (answer.decision, answer.reason) == ("deny", "abandoned")
    assert world.product.calls == []


async def test_many_are_swept_at_once() -> None:
    world = World()
    for number in range(20):
        await _left_behind(world, f"till-4-{number:016}")
    world.clock.advance(LEASE_S + 6)
    assert await world.sweeper().sweep() == 20


async def test_two_sweepers_decide_once() -> None:
    world = World()
    await _left_behind(world)
    world.clock.advance(LEASE_S + 6)
    closed = await asyncio.gather(world.sweeper().sweep(), world.sweeper().sweep())
    assert sum(closed) == 1
    assert world.names(transaction()).count("transaction.failed_closed") == 1


async def test_a_device_that_takes_over_in_that_moment_is_not_swept_away() -> None:
    world = World()
    await _left_behind(world)
    world.clock.advance(LEASE_S + 6)

    async def comes_back() -> None:
        await world.transact()

    world.log.before(x.TransactionFailedClosed, comes_back)
    assert await world.sweeper().sweep() == 0
    assert (_state(world).void, world.names(transaction())[-1]) == ("none", "transaction.allowed")


async def test_one_who_was_swept_meanwhile_answers_the_sweepers_word_not_its_own() -> None:
    """The worker stood still for longer than its lease; it heard a yes that is to be undone."""
    world = World()

    async def stand_still() -> None:
        world.clock.advance(LEASE_S + 6)
        assert await world.sweeper().sweep() == 1

    world.product.after = stand_still
    answer = (await world.transact()).answer
    assert (answer.decision, answer.reason) == ("deny", "abandoned")
    assert (_state(world).void, len(world.product.charged)) == ("owed", 1)


async def test_a_late_yes_to_what_was_decided_otherwise_is_to_be_undone() -> None:
    """A product that says no to the second who asks and yes to the first: two voices of one
    product, of which only the first took money. Seen to fail without the void."""
    world = World()

    async def taken_over() -> None:
        world.clock.advance(LEASE_S)
        world.product.says = Authorized(decision="deny", reason_code="no_funds")
        await world.transact(broker=world.broker())
        world.product.says = Authorized(decision="allow")

    world.product.before = taken_over
    answer = (await world.transact()).answer
    assert (answer.decision, answer.reason) == ("deny", "no_funds")
    state = _state(world)
    assert state.void_requested is not None
    assert (state.void, state.void_requested.reason) == ("owed", "late_allow")


async def test_a_late_yes_is_undone_though_somebody_notes_something_meanwhile() -> None:
    """Seen to fail without the second try: then the void was lost to whoever came in between."""
    world = World()

    async def taken_over() -> None:
        world.clock.advance(LEASE_S)
        world.product.says = Authorized(decision="deny", reason_code="no_funds")
        reply = await world.transact(broker=world.broker())
        world.product.says = Authorized(decision="allow")
        world.log.before(x.TransactionVoidRequested, lambda: world.broker().relayed(TILL, reply))

    world.product.before = taken_over
    await world.transact()
    assert "transaction.relayed" in world.names(transaction())
    assert _state(world).void == "owed"


async def test_one_that_cannot_be_closed_keeps_no_other_open() -> None:
    """Seen to fail where the first error ended the round, and with it the process."""
    world = World()
    keys = [f"till-4-{number:016}" for number in range(3)]
    for key in keys:
        await _left_behind(world, key)
    world.clock.advance(LEASE_S + 6)
    error = ValueError("no such event")
    world.log.before_load(transaction(keys[0]), raising(error))
    assert await world.sweeper().sweep() == 2
    assert world.unswept == [(transaction(keys[0]), error)]
    assert await world.sweeper().sweep() == 1


async def test_what_could_not_be_committed_is_found_again() -> None:
    world = World()
    await _left_behind(world)
    world.clock.advance(LEASE_S + 6)
    world.log.before(x.TransactionFailedClosed, raising(CommitFailed("the line was cut")))
    with pytest.raises(CommitFailed):
        await world.sweeper().sweep()
    assert await world.sweeper().sweep() == 1


@pytest.mark.parametrize("dies", CRASHES)
async def test_wherever_a_process_dies_and_the_device_never_comes_back_nothing_is_left_open(
    dies: object,
) -> None:
    """The right-hand column of the crash matrix (reference broker.md §4.3)."""
    assert callable(dies)
    world = World()
    dies(world)
    with pytest.raises(Killed):
        await world.transact()
    world.clock.advance(LEASE_S + 6)
    await world.sweeper().sweep()
    past = world.log.stream(transaction())
    if not past:
        assert world.product.calls == []
        return
    state = _state(world)
    assert state.decision is not None
    if isinstance(state.decision, x.TransactionAllowed):
        assert state.void == "none"
    else:
        assert (state.void, world.names(transaction())[-1]) == (
            "owed",
            "transaction.failed_closed",
        )
