"""That the answer was handed to the transport: noted once, by who gave it, waited for by nobody."""

import pytest

from application.ports import CommitFailed
from domain import transaction as x
from tests import builders
from tests.application.world import TILL, World, raising, transaction


async def test_it_is_noted_once_after_the_decision() -> None:
    world = World()
    broker = world.broker()
    reply = await world.transact(broker=broker)
    world.clock.advance(0.002)
    await broker.relayed(TILL, reply)
    await broker.relayed(TILL, reply)
    assert world.names(transaction())[3:] == ["transaction.allowed", "transaction.relayed"]
    assert world.events(transaction())[-1] == x.TransactionRelayed(relayed_at=world.clock.now())


@pytest.mark.parametrize("noted_before", [True, False])
async def test_a_repeat_of_the_answer_is_not_noted(noted_before: bool) -> None:
    world = World()
    broker = world.broker()
    reply = await world.transact(broker=broker)
    if noted_before:
        await broker.relayed(TILL, reply)
    before = world.names(transaction())
    await broker.relayed(TILL, await world.transact(broker=broker))
    assert world.names(transaction()) == before


async def test_a_transaction_that_moved_on_is_left_alone() -> None:
    world = World()
    broker = world.broker()
    reply = await world.transact(broker=broker)
    world.given(transaction(), builders.transaction_relayed())
    await broker.relayed(TILL, reply)
    assert world.names(transaction()).count("transaction.relayed") == 1


async def test_a_void_that_was_quicker_does_not_take_the_note_away() -> None:
    """Seen to fail while whatever else moved the transaction ended the noting."""
    world = World()
    broker = world.broker()
    reply = await world.transact(broker=broker)
    world.given(transaction(), builders.transaction_void_requested())
    await broker.relayed(TILL, reply)
    assert world.names(transaction())[-1] == "transaction.relayed"


async def test_a_log_that_is_away_is_said_to_whoever_noted() -> None:
    world = World()
    broker = world.broker()
    reply = await world.transact(broker=broker)
    world.log.before(x.TransactionRelayed, raising(CommitFailed("the line was cut")))
    with pytest.raises(CommitFailed):
        await broker.relayed(TILL, reply)
