"""The same key again: the same answer for ever, or a clear no, and never a second question."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec
import pytest

from application.palms.recognition import DeviceMatch
from application.ports import Authorized, AuthorizeFailed, PalmVendorFailed
from application.transactions.broker import Reply
from domain import transaction as x
from domain.errors import Conflict, Invalid, Refusal, Unavailable
from tests import builders
from tests.application.doors import Door, Unfenced
from tests.application.memory_log import MemoryEventLog
from tests.application.turns import race
from tests.application.world import (
    ALI,
    OTHER_DEVICE,
    Gate,
    World,
    asking,
    device,
    raising,
    scan,
    transaction,
)
from tests.spec import TENANT


@pytest.mark.parametrize(
    "says",
    [
        Authorized(decision="allow", display_message="Approved · 5 ﷼", reference_id="wal_1"),
        Authorized(decision="deny", reason_code="no_funds", display_message="\u2212"),
        AuthorizeFailed("authorize_timeout", reached=True),
    ],
    ids=["allow", "deny", "no answer"],
)
async def test_a_decision_is_answered_byte_for_byte_the_same_in_every_process(
    says: Authorized | AuthorizeFailed,
) -> None:
    world = World()
    world.product.says = says
    world.palms.takes_s = 0.123457
    first = await world.transact()
    world.clock.advance(86_400 * 400)
    world.product.says = AuthorizeFailed("egress_blocked", reached=False)
    again = await world.transact(broker=world.broker())
    assert msgspec.json.encode(again.answer) == msgspec.json.encode(first.answer)
    assert (first.replayed, again.replayed) == (False, True)
    assert (again.received_at, again.transaction_id) == (first.received_at, first.transaction_id)
    assert (len(world.product.calls), len(world.palms.budgets_s)) == (1, 1)


def _match(user_id: str) -> DeviceMatch:
    return DeviceMatch(
        user_id=user_id,
        model_version="1",
        library_version="1",
        scores=(0.9, 0.9),
        thresholds=(0.8, 0.8),
        signature="",
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"context": {"amount": "5.01", "currency": "SAR"}},
        {"palm": b"another picture"},
        {"match": _match("usr_1")},
    ],
    ids=["context", "scan", "match"],
)
async def test_a_key_used_for_another_request_is_refused(changed: dict[str, Any]) -> None:
    world = World()
    await world.transact()
    with pytest.raises(Invalid) as raised:
        await world.transact(asking(**changed))
    assert raised.value.code == "idempotency_key_reused"
    assert len(world.product.calls) == 1


@pytest.mark.parametrize(
    "said",
    [{"hand": "left"}, {"quality": 80.0}, {"liveness": 0.9}, {"captured_at": None}],
    ids=str,
)
async def test_a_key_used_for_another_word_about_the_picture_is_refused(
    said: dict[str, Any],
) -> None:
    """Seen to fail while the fingerprint knew the picture's bytes alone."""
    world = World()
    await world.transact()
    other = msgspec.structs.replace(asking(), scan=msgspec.structs.replace(scan(), **said))
    with pytest.raises(Invalid, match="idempotency_key_reused"):
        await world.transact(other)


async def test_the_devices_own_count_does_not_make_another_request() -> None:
    world = World()
    await world.transact()
    assert (await world.transact(msgspec.structs.replace(asking(), seq=8))).replayed


async def test_the_order_of_members_and_the_deadline_do_not_make_another_request() -> None:
    world = World()
    await world.transact(asking(deadline_ms=3000))
    context = {"currency": "SAR", "amount": "5.00"}
    assert (await world.transact(asking(context=context, deadline_ms=900))).replayed


async def test_a_key_is_each_devices_own() -> None:
    world = World()
    world.given(OTHER_DEVICE, builders.device_registered())
    first = await world.transact()
    second = await world.transact(device=device(OTHER_DEVICE))
    assert first.transaction_id != second.transaction_id
    assert len(world.product.charged) == 2


async def test_a_duplicate_waits_for_the_running_one_and_gets_its_answer() -> None:
    world = World()
    broker = world.broker()
    gate = world.product.before = Gate()
    first = asyncio.create_task(world.transact(broker=broker))
    await gate.reached.wait()
    world.log.before_load(transaction(), raising(AssertionError("it need not ask the log")))
    joined = [asyncio.create_task(world.transact(broker=broker)) for _ in range(3)]
    await asyncio.wait(joined, timeout=0.01)
    gate.open.set()
    answers = [await first, *await asyncio.gather(*joined)]
    assert [each.replayed for each in answers] == [False, True, True, True]
    assert len({msgspec.json.encode(each.answer) for each in answers}) == 1
    assert len(world.product.calls) == 1


async def test_a_duplicate_that_waited_long_enough_is_told_to_come_back() -> None:
    """It waits for as long as it may itself take; here for 20 ms."""
    world = World()
    broker = world.broker()
    gate = world.product.before = Gate()
    first = asyncio.create_task(world.transact(broker=broker))
    await gate.reached.wait()
    with pytest.raises(Conflict) as raised:
        await world.transact(asking(deadline_ms=20), broker=broker)
    assert (raised.value.code, raised.value.retry_after_s) == ("request_in_progress", 1)
    gate.open.set()
    assert (await first).answer.decision == "allow"
    assert (await world.transact(broker=broker)).replayed


async def test_a_duplicate_of_one_that_fails_is_told_to_come_back() -> None:
    world = World()
    broker = world.broker()
    world.palms.identify_raises = PalmVendorFailed("palm_vendor_error")
    gate = world.palms.before = Gate()
    first = asyncio.create_task(world.transact(broker=broker))
    await gate.reached.wait()
    joined = asyncio.create_task(world.transact(broker=broker))
    await asyncio.wait([joined], timeout=0.01)
    gate.open.set()
    answers = await asyncio.gather(first, joined, return_exceptions=True)
    assert [(type(each), str(each)) for each in answers] == [
        (Unavailable, "palm_vendor_error"),
        (Conflict, "request_in_progress"),
    ]


@pytest.mark.parametrize("at", ["vendor", "product"])
async def test_another_request_under_a_key_that_is_running_is_refused_at_once(at: str) -> None:
    """Whether or not the log has heard of the first one yet."""
    world = World()
    broker = world.broker()
    gate = Gate()
    if at == "vendor":
        world.palms.before = gate
    else:
        world.product.before = gate
    first = asyncio.create_task(world.transact(broker=broker))
    await gate.reached.wait()
    with pytest.raises(Invalid, match="idempotency_key_reused"):
        await world.transact(asking(b"another palm"), broker=broker)
    gate.open.set()
    assert (await first).answer.decision == "allow"


async def test_a_device_that_hangs_up_leaves_no_key_behind() -> None:
    world = World()
    broker = world.broker()
    gate = world.palms.before = Gate()
    first = asyncio.create_task(world.transact(broker=broker))
    await gate.reached.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await world.transact(broker=broker)).answer.decision == "allow"


@pytest.mark.parametrize("after_s", [0, 59, 60])
async def test_after_a_failed_vendor_the_same_key_may_try_again_for_a_minute(
    after_s: float,
) -> None:
    world = World()
    world.palms.identify_raises = PalmVendorFailed("palm_vendor_error")
    for _ in range(2):
        with pytest.raises(Unavailable):
            await world.transact()
    world.clock.advance(after_s)
    world.palms.identify_raises = None
    assert (await world.transact()).answer.decision == "allow"
    attempts = [
        event.attempt
        for event in world.events(transaction())
        if isinstance(event, x.TransactionReceived)
    ]
    assert attempts == [1, 2, 3]
    assert len(world.product.calls) == 1


async def test_a_minute_after_a_failed_vendor_the_key_is_of_no_more_use() -> None:
    world = World()
    world.palms.identify_raises = PalmVendorFailed("palm_vendor_error")
    with pytest.raises(Unavailable):
        await world.transact()
    world.clock.advance(60.001)
    world.palms.identify_raises = None
    with pytest.raises(Conflict) as raised:
        await world.transact()
    assert raised.value.code == "idempotency_key_expired"
    assert len(world.palms.budgets_s) == 1


async def test_another_request_under_the_key_of_a_failed_vendor_is_refused() -> None:
    world = World()
    world.palms.identify_raises = PalmVendorFailed("palm_vendor_error")
    with pytest.raises(Unavailable):
        await world.transact()
    with pytest.raises(Invalid, match="idempotency_key_reused"):
        await world.transact(asking(ALI + b"!"))


async def _asked_once(world: World, first: object, second: object) -> None:
    assert len(world.product.calls) == 1
    replies = [each for each in (first, second) if isinstance(each, Reply)]
    refusals = [each for each in (first, second) if isinstance(each, Refusal)]
    assert len(replies) + len(refusals) == 2, (first, second)
    assert {str(each) for each in refusals} <= {"request_in_progress"}
    assert len({msgspec.json.encode(each.answer) for each in replies}) == 1
    assert world.names(transaction()).count("transaction.allowed") == 1


def _two_processes(
    door: Callable[[MemoryEventLog], Door],
) -> Callable[[], Awaitable[tuple[World, list[Coroutine[Any, Any, Reply]]]]]:
    async def scene() -> tuple[World, list[Coroutine[Any, Any, Reply]]]:
        world = World()
        brokers = [world.broker(door(world.log)) for _ in range(2)]
        return world, [world.transact(broker=broker) for broker in brokers]

    return scene


async def test_two_processes_with_one_key_ask_the_product_once_in_every_order() -> None:
    """Nobody is told anything but the one decision, or to come back."""
    await race(_two_processes(Door), _asked_once, steps=10)


async def test_without_the_fence_two_processes_would_ask_twice() -> None:
    """The same race, over a door to the log that does not compare versions."""
    with pytest.raises(AssertionError):
        await race(_two_processes(Unfenced), _asked_once, steps=10)


async def test_what_the_product_wrote_is_kept_beside_the_log_and_goes_with_the_person() -> None:
    """Until then the answer is the same in every process, and afterwards it says that it is not.

    Seen to fail when the text is put into the event, and when a repeat does not open it.
    """
    world = World()
    says = Authorized(decision="allow", display_message="Merhaba Ayse", reference_id="ayse-7")
    world.product.says = says
    first = await world.transact()
    assert (first.answer.display_message, first.answer.product_reference) == (
        "Merhaba Ayse",
        "ayse-7",
    )
    assert first.answer.shredded is msgspec.UNSET
    assert "ayse" not in repr(world.log.stream(transaction())).lower()
    again = await world.transact(broker=world.broker())
    assert msgspec.json.encode(again.answer) == msgspec.json.encode(first.answer)
    await world.vault.erase(TENANT, builders.USER)
    shredded = await world.transact(broker=world.broker())
    assert shredded.answer == msgspec.structs.replace(
        first.answer, display_message="", product_reference=None, shredded=True
    )


async def test_a_product_that_writes_nothing_leaves_nothing_to_keep() -> None:
    world = World()
    world.product.says = Authorized(decision="allow", ttl_seconds=5)
    await world.transact()
    assert world.texts.kept == {}
    assert (await world.transact(broker=world.broker())).answer.shredded is msgspec.UNSET


async def test_an_answer_of_before_texts_were_sealed_stays_as_it_was() -> None:
    """As the release before wrote it, in clear; it is upcast and answered byte for byte."""
    world = World()
    first = await world.transact()
    (sealed,) = [e for e in world.events(transaction()) if isinstance(e, x.TransactionAllowed)]
    clear = x.ProductText(display_message="Approved", reference_id="wal_1")
    older = msgspec.structs.replace(sealed, text_commitment=None, text_in_clear=clear)
    stored = msgspec.to_builtins(older)
    text = stored.pop("text_in_clear")
    assert x.text_set_apart({**stored, **text}) == msgspec.to_builtins(older)
    past = x.rebuild(world.log.stream(transaction()))
    assert past is not None
    assert x.answer(msgspec.structs.replace(past, decision=older)) == first.answer
