"""An intent without a decision: who may finish it, how, and what becomes of who comes late."""

from collections.abc import Callable

import msgspec
import pytest

from application.ports import Authorized, AuthorizeFailed, CommitFailed
from domain import transaction as x
from domain.errors import Conflict, Invalid, Unavailable
from domain.events import DomainEvent
from domain.ids import wire
from tests import builders
from tests.application.memory_log import MemoryEventLog
from tests.application.world import (
    Killed,
    World,
    asking,
    kill,
    raising,
    transaction,
)
from tests.builders import PALM, SERVICE, USER

LEASE_S = 5.0
"""The device's three seconds and two of grace."""


async def _left_behind(world: World) -> None:
    """A process wrote its intent down, and died before it asked."""
    world.log.after(x.TransactionAuthorizationRequested, kill)
    with pytest.raises(Killed):
        await world.transact()
    assert world.product.calls == []


def _intents(world: World) -> list[x.TransactionAuthorizationRequested]:
    return [
        event
        for event in world.events(transaction())
        if isinstance(event, x.TransactionAuthorizationRequested)
    ]


def _closed(world: World) -> x.TransactionFailedClosed:
    closed = world.events(transaction())[-1]
    assert isinstance(closed, x.TransactionFailedClosed)
    return closed


async def test_while_the_lease_lasts_nobody_else_may_finish() -> None:
    world = World()
    await _left_behind(world)
    world.clock.advance(LEASE_S - 0.001)
    with pytest.raises(Conflict) as raised:
        await world.transact()
    assert (raised.value.code, raised.value.retry_after_s) == ("request_in_progress", 1)
    assert world.product.calls == []


async def test_after_the_lease_the_same_person_is_asked_about_under_the_same_key() -> None:
    """Not identified again: the same picture might yield somebody else now."""
    world = World()
    await _left_behind(world)
    world.clock.advance(LEASE_S)
    world.palms.enrolled.clear()
    reply = await world.transact()
    assert (reply.answer.decision, reply.replayed) == ("allow", False)
    assert len(world.palms.budgets_s) == 1
    first, second = _intents(world)
    assert (first.epoch, second.epoch) == (1, 2)
    assert first.jti != second.jti
    assert first.product_idempotency_key == second.product_idempotency_key
    assert (second.lease_until - world.clock.now()).total_seconds() == LEASE_S
    (call,) = world.product.calls
    assert call.idempotency_key == wire("txn", transaction())
    asked = msgspec.json.decode(call.body)
    assert (asked["user_id"], asked["attempt"]) == (wire("usr", USER), 2)
    assert world.signer.claims[0]["jti"] == second.jti


async def test_a_product_that_moved_meanwhile_is_asked_where_it_was_asked_before() -> None:
    """Its books at the new place know nothing of what the one who died may have had charged."""
    world = World()
    await _left_behind(world)
    world.clock.advance(LEASE_S)
    world.routing(base_url="https://new.wallet.example", authorize_path="/v2", timeout_ms=100)
    await world.transact()
    assert world.product.calls[0].url == "https://wallet.example/authorize"
    first, again = _intents(world)
    assert (again.service_version, again.timeout_ms) == (first.service_version, 800)


async def test_a_product_that_moved_and_left_nobody_behind_is_owed_a_void() -> None:
    world = World()
    await _left_behind(world)
    world.clock.advance(LEASE_S)
    world.routing(base_url="https://new.wallet.example")
    world.product.says = AuthorizeFailed("egress_blocked", reached=False)
    assert (await world.transact()).answer.reason == "egress_blocked"
    assert _closed(world).void_needed


async def test_a_key_that_comes_back_after_an_hour_opens_nothing() -> None:
    """Whoever showed the palm has long gone. Seen to fail without the limit."""
    world = World()
    await _left_behind(world)
    world.clock.advance(3600.001)
    answer = (await world.transact()).answer
    assert (answer.decision, answer.reason) == ("deny", "abandoned")
    assert _closed(world).void_needed
    assert world.product.calls == []
    assert len(_intents(world)) == 1


async def test_a_key_that_comes_back_within_the_hour_is_asked_about() -> None:
    world = World()
    await _left_behind(world)
    world.clock.advance(3600)
    assert (await world.transact()).answer.decision == "allow"


def _person_suspended(world: World) -> None:
    world.given(USER, builders.user_suspended())


def _consent_withdrawn(world: World) -> None:
    world.given(USER, builders.user_consent_withdrawn())


def _palm_removed(world: World) -> None:
    world.given(USER, builders.user_palm_removal_started())
    world.given(PALM, builders.enrollment_template_removal_started())


def _kyc_wanted(world: World) -> None:
    world.settings(kyc_required=True)


@pytest.mark.parametrize(
    ("meanwhile", "reason"),
    [
        (_person_suspended, "user_suspended"),
        (_consent_withdrawn, "consent_withdrawn"),
        (_kyc_wanted, "kyc_required"),
        (_palm_removed, "palm_removed"),
    ],
)
async def test_a_person_who_may_no_longer_be_served_is_refused_and_the_product_owed_a_void(
    meanwhile: Callable[[World], None], reason: str
) -> None:
    """Seen to fail (`allow`) while a take-over trusted the check of the one who died."""
    world = World()
    await _left_behind(world)
    meanwhile(world)
    world.clock.advance(LEASE_S)
    answer = (await world.transact()).answer
    assert (answer.decision, answer.reason) == ("deny", reason)
    refused = world.events(transaction())[-1]
    assert isinstance(refused, x.TransactionRefused)
    assert (refused.user_id, refused.void_needed) == (USER, True)
    assert world.product.calls == []


async def test_an_action_that_is_no_longer_allowed_is_not_asked_again() -> None:
    world = World()
    await _left_behind(world)
    world.routing(allowed_actions=("refund",))
    world.clock.advance(LEASE_S)
    assert (await world.transact()).answer.reason == "action_not_allowed"
    assert _closed(world).void_needed
    assert world.product.calls == []


@pytest.mark.parametrize(
    "gone", [builders.linked_service_suspended, builders.linked_service_deleted]
)
async def test_a_product_that_may_no_longer_be_asked_is_owed_a_void(
    gone: Callable[[], DomainEvent],
) -> None:
    """The one who died may have reached it."""
    world = World()
    await _left_behind(world)
    world.given(SERVICE, gone())
    world.clock.advance(LEASE_S)
    answer = (await world.transact()).answer
    assert (answer.decision, answer.reason) == ("deny", "linked_service_unavailable")
    assert _closed(world).void_needed
    assert world.product.calls == []


async def test_another_request_under_the_key_that_was_left_behind_is_refused() -> None:
    world = World()
    await _left_behind(world)
    world.clock.advance(LEASE_S)
    with pytest.raises(Invalid, match="idempotency_key_reused"):
        await world.transact(asking(b"another palm"))


@pytest.mark.parametrize(
    "failure",
    [
        AuthorizeFailed("connect_error", reached=False),
        AuthorizeFailed("circuit_open", reached=False),
        AuthorizeFailed("assertion_rejected", reached=True),
        AuthorizeFailed("product_refused", reached=True),
        AuthorizeFailed("egress_blocked", reached=False),
    ],
    ids=str,
)
@pytest.mark.parametrize("fail_mode", ["closed", "open"])
async def test_a_void_is_due_when_an_earlier_attempt_may_have_reached_the_product(
    failure: AuthorizeFailed, fail_mode: str
) -> None:
    """The first attempt was charged and died; the second cannot reach the product, and closes."""
    world = World()
    world.routing(
        fail_mode=fail_mode,
        stand_in=msgspec.structs.replace(builders.ROUTING.stand_in, max_amount="0"),
    )
    world.product.after = kill
    with pytest.raises(Killed):
        await world.transact()
    assert len(world.product.charged) == 1
    world.clock.advance(LEASE_S)
    world.product.says = failure
    assert (await world.transact()).answer.decision == "deny"
    assert _closed(world).void_needed


async def test_with_no_time_left_for_another_attempt_a_void_is_due() -> None:
    world = World()
    world.product.after = kill
    with pytest.raises(Killed):
        await world.transact()
    world.clock.advance(LEASE_S)

    async def wait() -> None:
        world.clock.advance(3)

    world.log.after(x.TransactionAuthorizationRequested, wait)
    assert (await world.transact()).answer.reason == "authorize_timeout"
    assert _closed(world).void_needed


async def test_one_who_was_late_answers_what_the_log_says_and_never_what_it_heard() -> None:
    """It was told `allow`; meanwhile somebody else committed a deny."""
    world = World()
    late = builders.transaction_failed_closed(reason="authorize_timeout")

    async def decide() -> None:
        world.given(transaction(), late)

    world.log.before(x.TransactionAllowed, decide)
    reply = await world.transact()
    assert (reply.answer.decision, reply.answer.reason) == ("deny", "authorize_timeout")
    assert (reply.replayed, reply.answer.decided_at) == (True, late.decided_at)
    assert "transaction.allowed" not in world.names(transaction())


async def test_one_who_was_taken_over_and_is_not_decided_yet_says_come_back() -> None:
    world = World()

    async def take_over() -> None:
        world.given(transaction(), builders.transaction_authorization_requested(epoch=2))

    world.log.before(x.TransactionAllowed, take_over)
    with pytest.raises(Conflict, match="request_in_progress"):
        await world.transact()
    assert "transaction.allowed" not in world.names(transaction())


async def test_one_who_is_late_with_the_intent_asks_nobody() -> None:
    world = World()

    async def other() -> None:
        await world.transact(broker=world.broker())

    world.log.before(x.TransactionAuthorizationRequested, other)
    reply = await world.transact()
    assert (reply.answer.decision, reply.replayed) == ("allow", True)
    assert len(world.product.calls) == 1


async def test_one_who_is_late_with_the_intent_of_another_request_is_refused() -> None:
    world = World()

    async def other() -> None:
        await world.transact(asking(context={"amount": "9.00"}), broker=world.broker())

    world.log.before(x.TransactionAuthorizationRequested, other)
    with pytest.raises(Invalid, match="idempotency_key_reused"):
        await world.transact()
    assert len(world.product.calls) == 1


async def test_one_who_is_late_with_a_failed_vendor_says_come_back() -> None:
    world = World()
    world.palms.takes_s = 9

    async def other() -> None:
        with pytest.raises(Unavailable):
            await world.transact(broker=world.broker())

    world.log.before(x.TransactionVendorFailed, other)
    with pytest.raises(Conflict, match="request_in_progress"):
        await world.transact()


async def test_one_who_takes_over_too_late_says_come_back() -> None:
    world = World()
    await _left_behind(world)
    world.clock.advance(LEASE_S)

    async def take_over() -> None:
        world.given(transaction(), builders.transaction_authorization_requested(epoch=2))

    world.log.before(x.TransactionAuthorizationRequested, take_over)
    with pytest.raises(Conflict, match="request_in_progress"):
        await world.transact()
    assert world.product.calls == []


def before(log: MemoryEventLog, event: type[DomainEvent]) -> None:
    log.before(event, raising(CommitFailed("the line was cut")))


def after(log: MemoryEventLog, event: type[DomainEvent]) -> None:
    log.after(event, raising(CommitFailed("the line was cut")))


@pytest.mark.parametrize("cut", [before, after])
@pytest.mark.parametrize(
    "event", [x.TransactionAuthorizationRequested, x.TransactionAllowed], ids=lambda cls: cls.NAME
)
async def test_what_nobody_knows_to_be_durable_is_503_and_no_answer(
    cut: Callable[[MemoryEventLog, type[DomainEvent]], None], event: type[DomainEvent]
) -> None:
    """And the same key gets the one decision afterwards, with one charge."""
    world = World()
    cut(world.log, event)
    with pytest.raises(Unavailable) as raised:
        await world.transact()
    assert (raised.value.code, raised.value.retry_after_s) == ("commit_failed", 1)
    assert "answered" not in world.trace
    if event is x.TransactionAuthorizationRequested:
        assert world.product.calls == []
    world.clock.advance(LEASE_S)
    reply = await world.transact()
    assert reply.answer.decision == "allow"
    assert reply.replayed == (event is x.TransactionAllowed and cut is after)
    assert len(world.product.charged) == 1
    assert world.names(transaction()).count("transaction.allowed") == 1


def _dies_before_the_intent(world: World) -> None:
    world.log.before(x.TransactionAuthorizationRequested, kill)


def _dies_after_the_intent(world: World) -> None:
    world.log.after(x.TransactionAuthorizationRequested, kill)


def _dies_in_the_call(world: World) -> None:
    world.product.before = kill


def _dies_after_the_product_acted(world: World) -> None:
    world.product.after = kill


def _dies_before_the_decision(world: World) -> None:
    world.log.before(x.TransactionAllowed, kill)


def _dies_after_the_decision(world: World) -> None:
    world.log.after(x.TransactionAllowed, kill)


CRASHES = [
    _dies_before_the_intent,
    _dies_after_the_intent,
    _dies_in_the_call,
    _dies_after_the_product_acted,
    _dies_before_the_decision,
    _dies_after_the_decision,
]


@pytest.mark.parametrize("dies", CRASHES)
@pytest.mark.parametrize("dies_again", [None, *CRASHES])
async def test_wherever_a_process_dies_the_same_key_comes_to_one_charge_and_one_answer(
    dies: Callable[[World], None], dies_again: Callable[[World], None] | None
) -> None:
    """The crash matrix (reference broker.md §4.3), up to two deaths under one key."""
    world = World()
    for death in filter(None, (dies, dies_again)):
        death(world)
        try:
            await world.transact(broker=world.broker())
        except Killed:
            world.clock.advance(LEASE_S)
    reply = await world.transact(broker=world.broker())
    assert reply.answer.decision == "allow"
    assert world.product.charged == {wire("txn", transaction())}
    assert len(world.palms.budgets_s) <= 3
    again = await world.transact(broker=world.broker())
    assert msgspec.json.encode(again.answer) == msgspec.json.encode(reply.answer)
    assert world.names(transaction()).count("transaction.allowed") == 1


@pytest.mark.parametrize("dies", CRASHES[1:5])
async def test_a_product_that_is_gone_after_a_death_leaves_no_charge_without_a_void(
    dies: Callable[[World], None],
) -> None:
    world = World()
    dies(world)
    with pytest.raises(Killed):
        await world.transact()
    world.clock.advance(LEASE_S)
    world.product.says = AuthorizeFailed("connect_error", reached=False)
    assert (await world.transact()).answer.decision == "deny"
    assert _closed(world).void_needed


async def test_a_deny_after_a_death_is_the_products_own_word() -> None:
    world = World()
    await _left_behind(world)
    world.clock.advance(LEASE_S)
    world.product.says = Authorized(decision="deny", reason_code="no_funds")
    assert (await world.transact()).answer.reason == "no_funds"
