"""What devices say became of their answers, and what they may ask about them."""

import msgspec
import pytest

from application.ports import AuthorizeFailed, CommitFailed, PalmVendorFailed
from application.transactions.journal import JournalEntry
from domain import transaction as x
from domain.errors import Conflict, Forbidden, NotFound, Unavailable
from domain.linked_service import StandIn
from tests import builders
from tests.application.world import (
    KEY,
    OTHER_DEVICE,
    TILL,
    Killed,
    World,
    asking,
    device,
    kill,
    raising,
    transaction,
)
from tests.builders import NOW


def entry(outcome: x.Shown, key: str = KEY) -> JournalEntry:
    return JournalEntry(idempotency_key=key, outcome=outcome, at=NOW)


async def test_an_allow_that_was_shown_is_acknowledged() -> None:
    world = World()
    await world.transact()
    taken = await world.journal().record(TILL, [entry("shown_allow")])
    assert (taken.accepted, taken.voided, taken.undecided, taken.unknown) == (1, [], [], [])
    assert world.names(transaction())[-1] == "transaction.acknowledged"


@pytest.mark.parametrize("outcome", ["not_received", "aborted", "shown_deny"])
async def test_an_allow_that_nobody_saw_is_voided_in_the_commit_of_the_entry(
    outcome: x.Shown,
) -> None:
    world = World()
    await world.transact()
    taken = await world.journal().record(TILL, [entry(outcome)])
    assert (taken.accepted, taken.voided) == (1, [transaction()])
    told, owed = (
        world.log.stream(transaction())[-2:]
        if outcome != "shown_deny"
        else (
            world.log.stream(transaction())[-3],
            world.log.stream(transaction())[-1],
        )
    )
    assert isinstance(told.event, x.TransactionAcknowledged)
    assert isinstance(owed.event, x.TransactionVoidRequested)
    assert told.command_id == owed.command_id
    again = await world.journal().record(TILL, [entry(outcome)])
    assert again == taken
    assert world.names(transaction()).count("transaction.void_requested") == 1


async def test_a_stand_in_that_nobody_saw_is_voided_too() -> None:
    world = World()
    world.routing(fail_mode="open", stand_in=StandIn())
    world.product.says = AuthorizeFailed("connect_error", reached=False)
    await world.transact()
    assert (await world.journal().record(TILL, [entry("aborted")])).voided == [transaction()]


async def test_a_device_that_changes_its_word_changes_nothing() -> None:
    world = World()
    await world.transact()
    both = [entry("shown_allow"), entry("not_received"), entry("not_received")]
    taken = await world.journal().record(TILL, both)
    assert (taken.accepted, taken.voided) == (3, [])
    assert world.names(transaction())[-2:] == [
        "transaction.acknowledged",
        "transaction.journal_conflict",
    ]


async def test_keys_that_are_unknown_or_undecided_are_named() -> None:
    world = World()
    world.log.after(x.TransactionAuthorizationRequested, kill)
    with pytest.raises(Killed):
        await world.transact()
    lines = [entry("not_received"), entry("not_received", "till-4-00000000002")]
    taken = await world.journal().record(TILL, lines)
    assert (taken.accepted, taken.undecided, taken.unknown) == (0, [KEY], ["till-4-00000000002"])
    assert world.names(transaction())[-1] == "transaction.authorization_requested"


async def test_a_device_cannot_speak_for_another_one() -> None:
    world = World()
    world.given(OTHER_DEVICE, builders.device_registered())
    await world.transact()
    taken = await world.journal().record(device(OTHER_DEVICE), [entry("not_received")])
    assert (taken.accepted, taken.unknown) == (0, [KEY])
    with pytest.raises(NotFound, match="transaction_not_found"):
        await world.journal().look_up(device(OTHER_DEVICE), KEY)


async def test_a_device_without_transactions_has_no_journal() -> None:
    world = World()
    world.given(
        OTHER_DEVICE,
        builders.device_registered(type="personal_scanner", bound_product=None, bound_action=None),
    )
    with pytest.raises(Forbidden, match="device_type_not_allowed"):
        await world.journal().record(device(OTHER_DEVICE), [entry("not_received")])


async def test_an_entry_finds_its_way_past_the_note_of_the_relay() -> None:
    world = World()
    broker = world.broker()
    reply = await world.transact(broker=broker)

    async def note() -> None:
        await broker.relayed(TILL, reply)

    world.log.before(x.TransactionAcknowledged, note)
    assert (await world.journal().record(TILL, [entry("aborted")])).accepted == 1
    assert world.names(transaction())[-3:] == [
        "transaction.relayed",
        "transaction.acknowledged",
        "transaction.void_requested",
    ]


async def test_what_is_not_known_to_be_durable_was_not_taken() -> None:
    world = World()
    await world.transact()
    world.log.after(x.TransactionAcknowledged, raising(CommitFailed("the line was cut")))
    with pytest.raises(CommitFailed):
        await world.journal().record(TILL, [entry("aborted")])
    assert (await world.journal().record(TILL, [entry("aborted")])).voided == [transaction()]


async def test_a_device_that_restarted_hears_the_same_answer_byte_for_byte() -> None:
    world = World()
    reply = await world.transact()
    await world.journal().record(TILL, [entry("aborted")])
    found = await world.journal().look_up(TILL, KEY)
    assert msgspec.json.encode(x.answer(found)) == msgspec.json.encode(reply.answer)


async def test_a_device_that_restarted_hears_how_far_it_is() -> None:
    world = World()
    with pytest.raises(NotFound):
        await world.journal().look_up(TILL, KEY)
    world.log.after(x.TransactionAuthorizationRequested, kill)
    with pytest.raises(Killed):
        await world.transact()
    assert (await world.journal().look_up(TILL, KEY)).status == "authorizing"
    assert world.product.calls == []


async def test_a_device_that_restarted_hears_that_the_vendor_had_failed() -> None:
    world = World()
    world.palms.identify_raises = PalmVendorFailed("palm_vendor_error", 50000, "")
    with pytest.raises(Unavailable):
        await world.transact(asking())
    with pytest.raises(Unavailable, match="palm_vendor_error"):
        await world.journal().look_up(TILL, KEY)


async def _failed_at_the_vendor(world: World) -> None:
    world.palms.identify_raises = PalmVendorFailed("palm_vendor_error", 50000, "")
    with pytest.raises(Unavailable):
        await world.transact(asking())
    world.palms.identify_raises = None


async def test_a_key_that_the_vendor_failed_is_closed_by_the_journal_once_nobody_may_retry() -> (
    None
):
    """Else the device would tell it for ever, and never be told the end."""
    world = World()
    await _failed_at_the_vendor(world)
    world.clock.advance(x.VENDOR_RETRY.total_seconds())
    taken = await world.journal().record(TILL, [entry("not_received")])
    assert (taken.accepted, taken.undecided) == (0, [KEY])
    world.clock.advance(0.001)
    with pytest.raises(Conflict, match="idempotency_key_expired"):
        await world.journal().look_up(TILL, KEY)
    taken = await world.journal().record(TILL, [entry("not_received")])
    assert (taken.accepted, taken.voided, taken.undecided) == (1, [], [])
    assert world.names(transaction())[-2:] == [
        "transaction.failed_closed",
        "transaction.acknowledged",
    ]
    found = await world.journal().look_up(TILL, KEY)
    assert x.answer(found).reason == "abandoned"
    assert (found.void, world.product.calls) == ("none", [])
    assert await world.journal().record(TILL, [entry("not_received")]) == taken


async def test_an_attempt_that_stood_still_does_not_get_past_a_journal_that_closed_it() -> None:
    """Seen to fail when the journal closed nothing: then the attempt went on."""
    world = World()
    await _failed_at_the_vendor(world)

    async def stand_still() -> None:
        world.clock.advance(x.VENDOR_RETRY.total_seconds() + 1)
        await world.journal().record(TILL, [entry("not_received")])

    world.palms.before = stand_still
    answer = (await world.transact(asking(deadline_ms=10_000))).answer
    assert (answer.decision, answer.reason) == ("deny", "abandoned")
    assert world.product.calls == []
