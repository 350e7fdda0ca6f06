"""Every outcome and reason of the table (reference broker.md §3.4): its event and its answer."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from application.ports import Authorized, AuthorizeFailed, PalmQueryForbidden, PalmVendorFailed
from domain import transaction as x
from domain.errors import Forbidden, Invalid, Refusal, Unauthenticated, Unavailable
from domain.events import DomainEvent
from domain.ids import DeviceId, PalmRef, TenantId, UserId, wire
from domain.matching import MatchPolicy, ScoredPalm
from tests import builders
from tests.application.world import (
    KEY,
    OTHER_DEVICE,
    OTHER_PALM,
    OTHER_TENANT,
    OTHER_USER,
    PRODUCT_CLAIM,
    TENANT_KEY,
    World,
    asking,
    device,
    scan,
    transaction,
)
from tests.builders import DEVICE, PALM, SERVICE, USER
from tests.spec import TENANT

Arrange = Callable[[World], None]


def last(world: World) -> DomainEvent:
    return world.events(transaction())[-1]


async def test_an_allow_carries_the_products_words() -> None:
    world = World()
    world.palms.takes_s, world.product.takes_s = 0.8, 0.05
    reply = await world.transact()
    assert msgspec.to_builtins(reply.answer) == {
        "transaction_id": wire("txn", transaction()),
        "decision": "allow",
        "reason": None,
        "display_message": "Approved",
        "product_reference": "wal_1",
        "ttl_seconds": 30,
        "stand_in": False,
        "decided_at": "2026-03-01T09:00:00.850000Z",
    }
    assert (reply.replayed, reply.version) == (False, 4)
    received, identified, intent, allowed = world.events(transaction())
    assert isinstance(received, x.TransactionReceived)
    assert (received.attempt, received.deadline_ms, received.idempotency_key) == (1, 3000, KEY)
    assert (received.device_version, received.tenant_version) == (3, 1)
    assert received.received_at == reply.received_at
    assert isinstance(identified, x.TransactionIdentified)
    assert (identified.user_id, identified.palm_ref, identified.identify_ms) == (USER, PALM, 800.0)
    assert identified.user_version == 3
    assert identified.candidates == (ScoredPalm(0, identified.scores),)
    assert identified.vendor_thresholds == world.palms.thresholds
    assert isinstance(intent, x.TransactionAuthorizationRequested)
    assert (intent.service_id, intent.service_version, intent.product_key) == (SERVICE, 1, "wallet")
    assert (intent.action, intent.epoch, intent.timeout_ms) == ("pay", 1, 800)
    assert (intent.base_url, intent.authorize_path) == ("https://wallet.example", "/authorize")
    assert (intent.void_path, intent.advice_path) == ("/void", "/advice")
    assert isinstance(allowed, x.TransactionAllowed)
    assert (allowed.authorize_ms, allowed.total_ms) == (50.0, 850.0)


@pytest.mark.parametrize(
    ("reason_code", "reason"),
    [("insufficient_funds", "insufficient_funds"), (None, "product_denied")],
)
async def test_a_deny_carries_the_products_reason(reason_code: str | None, reason: str) -> None:
    world = World()
    world.product.says = Authorized(
        decision="deny", display_message="Declined", reference_id="wal_2", reason_code=reason_code
    )
    answer = (await world.transact()).answer
    assert (answer.decision, answer.reason, answer.display_message) == ("deny", reason, "Declined")
    assert (answer.product_reference, answer.ttl_seconds, answer.stand_in) == ("wal_2", 0, False)
    denied = last(world)
    assert isinstance(denied, x.TransactionDenied)
    assert denied.reason == reason


def _nobody(world: World) -> None:
    world.palms.enrolled.clear()


def _weak(world: World) -> None:
    world.palms.scores[PALM] = (0.95, 0.95, 0.95, 0.79)


def _two_people(world: World) -> None:
    world.given(OTHER_USER, builders.user_signed_up())
    world.given(
        OTHER_PALM,
        builders.enrollment_started(user_id=OTHER_USER),
        builders.enrollment_completed(),
    )
    world.palms.enrolled[TENANT_KEY, OTHER_PALM] = world.palms.enrolled[TENANT_KEY, PALM]
    world.palms.scores[OTHER_PALM] = (0.94, 0.94, 0.94, 0.94)


@pytest.mark.parametrize(
    ("arrange", "reason", "scores"),
    [
        (_nobody, "no_candidate", None),
        (_weak, "low_confidence", (0.95, 0.95, 0.95, 0.79)),
        (_two_people, "ambiguous", (0.95, 0.95, 0.95, 0.95)),
    ],
)
async def test_a_palm_that_is_not_clearly_one_persons_asks_no_product(
    arrange: Arrange, reason: str, scores: tuple[float, ...] | None
) -> None:
    world = World()
    arrange(world)
    answer = (await world.transact()).answer
    assert (answer.decision, answer.reason) == ("not_recognized", reason)
    assert answer.display_message == "Palm not recognized"
    unknown = last(world)
    assert isinstance(unknown, x.TransactionNotRecognized)
    assert (unknown.reason, unknown.scores) == (reason, scores)
    assert unknown.thresholds == world.palms.thresholds
    assert world.product.calls == []


def _unfinished(world: World) -> None:
    world.given(OTHER_PALM, builders.enrollment_started())


def _given_up(world: World) -> None:
    world.given(OTHER_PALM, builders.enrollment_started(), builders.enrollment_failed())


def _unheard_of(world: World) -> None:
    del world


@pytest.mark.parametrize("arrange", [_unfinished, _given_up, _unheard_of])
async def test_a_template_counts_only_when_its_enrolment_was_completed(arrange: Arrange) -> None:
    world = World()
    arrange(world)
    world.palms.enrolled = {(TENANT_KEY, OTHER_PALM): b"left over"}
    answer = (await world.transact(asking(b"left over"))).answer
    assert (answer.decision, answer.reason) == ("not_recognized", "no_candidate")


@pytest.mark.parametrize("best", [PALM, OTHER_PALM])
async def test_two_hands_of_one_person_are_one_person(best: PalmRef) -> None:
    world = World()
    world.given(OTHER_PALM, builders.enrollment_started(), builders.enrollment_completed())
    world.palms.enrolled[TENANT_KEY, OTHER_PALM] = world.palms.enrolled[TENANT_KEY, PALM]
    world.palms.scores = dict.fromkeys((PALM, OTHER_PALM), (0.94, 0.94, 0.94, 0.94))
    world.palms.scores[best] = (0.96, 0.96, 0.96, 0.96)
    assert (await world.transact()).answer.decision == "allow"
    identified = world.events(transaction())[1]
    assert isinstance(identified, x.TransactionIdentified)
    assert (identified.user_id, identified.palm_ref) == (USER, best)


async def test_the_hand_that_passes_speaks_for_the_person_not_the_one_with_the_higher_mean() -> (
    None
):
    world = World()
    world.given(OTHER_PALM, builders.enrollment_started(), builders.enrollment_completed())
    world.palms.enrolled[TENANT_KEY, OTHER_PALM] = world.palms.enrolled[TENANT_KEY, PALM]
    world.palms.scores = {PALM: (0.85, 0.85, 0.85, 0.85), OTHER_PALM: (0.99, 0.99, 0.99, 0.79)}
    assert (await world.transact()).answer.decision == "allow"
    identified = world.events(transaction())[1]
    assert isinstance(identified, x.TransactionIdentified)
    assert (identified.user_id, identified.palm_ref) == (USER, PALM)
    assert {palm.person for palm in identified.candidates} == {0}
    assert {palm.scores for palm in identified.candidates} == set(world.palms.scores.values())


async def test_what_was_compared_is_kept_also_when_nobody_is_recognised() -> None:
    world = World()
    world.given(OTHER_USER, builders.user_signed_up())
    world.given(
        OTHER_PALM,
        builders.enrollment_started(user_id=OTHER_USER),
        builders.enrollment_completed(),
    )
    world.palms.enrolled[TENANT_KEY, OTHER_PALM] = world.palms.enrolled[TENANT_KEY, PALM]
    assert (await world.transact()).answer.reason == "ambiguous"
    unknown = last(world)
    assert isinstance(unknown, x.TransactionNotRecognized)
    assert [palm.person for palm in unknown.candidates] == [0, 1]
    assert unknown.vendor_thresholds == world.palms.thresholds


async def test_a_service_that_may_not_be_asked_is_named_in_the_decision() -> None:
    world = World()
    world.given(SERVICE, builders.linked_service_suspended())
    await world.transact()
    closed = last(world)
    assert isinstance(closed, x.TransactionFailedClosed)
    assert (closed.service_id, closed.service_version) == (SERVICE, 2)


@pytest.mark.parametrize(
    ("policy", "said", "code"),
    [
        (MatchPolicy(min_quality=60), {"quality": 59.9}, "low_quality"),
        (MatchPolicy(min_quality=60), {"quality": None}, "low_quality"),
        (MatchPolicy(min_liveness=0.9), {"liveness": 0.89}, "liveness_failed"),
        (MatchPolicy(min_liveness=0.9), {"liveness": None}, "liveness_failed"),
    ],
)
async def test_a_picture_below_the_policy_is_not_compared_and_leaves_no_trace(
    policy: MatchPolicy, said: dict[str, float | None], code: str
) -> None:
    world = World()
    world.settings(match_policy=policy)
    request = msgspec.structs.replace(asking(), scan=msgspec.structs.replace(scan(), **said))
    with pytest.raises(Invalid, match=code):
        await world.transact(request)
    assert (world.palms.budgets_s, world.names(transaction())) == ([], [])


async def test_what_the_device_says_of_its_picture_is_kept() -> None:
    world = World()
    world.settings(match_policy=MatchPolicy(min_quality=60.0, min_liveness=0.9))
    picture = msgspec.structs.replace(scan(), quality=60.0, liveness=0.9, captured_at=builders.NOW)
    await world.transact(msgspec.structs.replace(asking(), scan=picture, seq=4711))
    received = world.events(transaction())[0]
    assert isinstance(received, x.TransactionReceived)
    assert (received.seq, received.quality, received.liveness) == (4711, 60.0, 0.9)
    assert received.captured_at == builders.NOW


async def test_a_stricter_policy_does_not_change_an_answer_that_was_given() -> None:
    world = World()
    await world.transact()
    world.settings(match_policy=MatchPolicy(min_quality=60.0))
    assert (await world.transact()).replayed


async def test_a_tenant_may_be_stricter_than_the_vendor() -> None:
    world = World()
    policy = MatchPolicy(version=7, minimum=(0.99, 0.0, 0.0, 0.0))
    world.settings(match_policy=policy)
    assert (await world.transact()).answer.reason == "low_confidence"
    unknown = last(world)
    assert isinstance(unknown, x.TransactionNotRecognized)
    assert (unknown.policy_version, unknown.thresholds) == (7, (0.99, 0.8, 0.8, 0.8))


async def test_a_forbidden_kind_of_palm_is_denied() -> None:
    world = World()
    world.palms.identify_raises = PalmQueryForbidden()
    answer = (await world.transact()).answer
    assert (answer.decision, answer.reason) == ("deny", "palm_type_not_allowed")
    assert isinstance(last(world), x.TransactionForbidden)
    assert world.product.calls == []


@pytest.mark.parametrize(
    ("failure", "void_needed"),
    [
        (AuthorizeFailed("authorize_timeout", reached=True), True),
        (AuthorizeFailed("authorize_timeout", reached=False), False),
        (AuthorizeFailed("circuit_open", reached=False), False),
        (AuthorizeFailed("connect_error", reached=True), True),
        (AuthorizeFailed("connect_error", reached=False), False),
        (AuthorizeFailed("product_5xx", reached=True), True),
        (AuthorizeFailed("product_malformed", reached=True), True),
        (AuthorizeFailed("assertion_rejected", reached=True), False),
        (AuthorizeFailed("egress_blocked", reached=False), False),
    ],
    ids=str,
)
async def test_no_answer_that_counts_fails_closed_and_says_whether_a_void_is_due(
    failure: AuthorizeFailed, void_needed: bool
) -> None:
    world = World()
    failure.detail = "what happened"
    world.product.says = failure
    answer = (await world.transact()).answer
    assert (answer.decision, answer.reason) == ("deny", failure.failure)
    assert (answer.display_message, answer.stand_in) == ("Try again", False)
    closed = last(world)
    assert isinstance(closed, x.TransactionFailedClosed)
    assert (closed.reason, closed.void_needed) == (failure.failure, void_needed)
    assert (closed.detail, closed.authorize_ms) == ("what happened", 0.0)


async def test_a_refusal_of_the_product_that_is_no_answer_reads_as_malformed_without_a_void() -> (
    None
):
    world = World()
    world.product.says = AuthorizeFailed("product_refused", reached=True, detail="HTTP 404")
    assert (await world.transact()).answer.reason == "product_malformed"
    closed = last(world)
    assert isinstance(closed, x.TransactionFailedClosed)
    assert (closed.void_needed, closed.detail) == (False, "HTTP 404")


@pytest.mark.parametrize("reason", ["palm_vendor_error", "palm_vendor_timeout"])
async def test_a_failed_vendor_is_503_and_decides_nothing(reason: Any) -> None:
    world = World()
    world.palms.identify_raises = PalmVendorFailed(reason, 50000, "internal_error")
    with pytest.raises(Unavailable) as raised:
        await world.transact()
    assert (raised.value.code, raised.value.retry_after_s) == (reason, 1)
    assert world.names(transaction()) == ["transaction.received", "transaction.vendor_failed"]
    failed = last(world)
    assert isinstance(failed, x.TransactionVendorFailed)
    assert (failed.reason, failed.vendor_code, failed.vendor_message) == (
        reason,
        50000,
        "internal_error",
    )


def _suspended(world: World) -> None:
    world.given(USER, builders.user_suspended())


def _unverified(world: World) -> None:
    world.settings(kyc_required=True)


def _withdrawn(world: World) -> None:
    world.given(USER, builders.user_consent_withdrawn())


def _withdrawn_where_none_is_needed(world: World) -> None:
    _withdrawn(world)
    world.settings(consent_required=False)


def _no_consent(world: World) -> None:
    world.given(OTHER_USER, builders.user_signed_up())
    world.given(
        OTHER_PALM,
        builders.enrollment_started(user_id=OTHER_USER),
        builders.enrollment_completed(),
    )
    world.palms.enrolled = {(TENANT_KEY, OTHER_PALM): b"the palm of ali"}


def _resumed(world: World) -> None:
    _suspended(world)
    world.given(USER, builders.user_resumed())


def _outdated(world: World) -> None:
    world.settings(consent_version="2")


def _none_needed(world: World) -> None:
    _no_consent(world)
    world.settings(consent_required=False)


@pytest.mark.parametrize(
    ("arrange", "user_id", "reason"),
    [
        (_suspended, USER, "user_suspended"),
        (_unverified, USER, "kyc_required"),
        (_withdrawn, USER, "consent_withdrawn"),
        (_withdrawn_where_none_is_needed, USER, "consent_withdrawn"),
        (_no_consent, OTHER_USER, "consent_required"),
    ],
)
async def test_a_person_who_may_not_be_served_now_is_refused_before_any_product(
    arrange: Arrange, user_id: UserId, reason: str
) -> None:
    world = World()
    arrange(world)
    answer = (await world.transact()).answer
    assert (answer.decision, answer.reason) == ("deny", reason)
    assert answer.display_message == "Not available"
    refused = last(world)
    assert isinstance(refused, x.TransactionRefused)
    assert (refused.user_id, refused.reason) == (user_id, reason)
    assert world.names(transaction())[:2] == ["transaction.received", "transaction.identified"]
    assert world.product.calls == []


@pytest.mark.parametrize("arrange", [_resumed, _outdated, _none_needed])
async def test_a_person_who_was_resumed_or_agreed_to_earlier_words_is_served(
    arrange: Arrange,
) -> None:
    """An outdated consent is asked for again at the next sign-in; it still is a consent."""
    world = World()
    arrange(world)
    assert (await world.transact()).answer.decision == "allow"


def _service_suspended(world: World) -> None:
    world.given(SERVICE, builders.linked_service_suspended())


def _service_deleted(world: World) -> None:
    world.given(SERVICE, builders.linked_service_deleted())


def _key_released(world: World) -> None:
    _service_deleted(world)
    world.given(PRODUCT_CLAIM, builders.claim_released())


def _key_never_claimed(world: World) -> None:
    world.given(
        OTHER_DEVICE,
        builders.device_registered(bound_product="parking"),
        builders.device_pairing_code_issued(),
        builders.device_paired(),
    )


def _another_action(world: World) -> None:
    world.routing(allowed_actions=("refund",))


@pytest.mark.parametrize(
    ("arrange", "device_id", "reason"),
    [
        (_service_suspended, DEVICE, "linked_service_unavailable"),
        (_service_deleted, DEVICE, "linked_service_unavailable"),
        (_key_released, DEVICE, "linked_service_unavailable"),
        (_key_never_claimed, OTHER_DEVICE, "linked_service_unavailable"),
        (_another_action, DEVICE, "action_not_allowed"),
    ],
)
async def test_a_product_that_may_not_be_asked_fails_closed_without_a_void(
    arrange: Arrange, device_id: DeviceId, reason: str
) -> None:
    world = World()
    world.routing(fail_mode="open")
    arrange(world)
    answer = (await world.transact(device=device(device_id))).answer
    assert (answer.decision, answer.reason) == ("deny", reason)
    closed = world.events(transaction(device_id=device_id))[-1]
    assert isinstance(closed, x.TransactionFailedClosed)
    assert (closed.reason, closed.void_needed, closed.authorize_ms) == (reason, False, None)
    assert world.product.calls == []
    assert "transaction.authorization_requested" not in world.names(transaction())


async def test_a_service_without_a_list_of_actions_allows_every_action() -> None:
    world = World()
    world.routing(allowed_actions=())
    assert (await world.transact()).answer.decision == "allow"


def _unbound_kiosk(world: World) -> None:
    world.given(
        OTHER_DEVICE,
        builders.device_registered(type="kiosk", bound_product=None, bound_action=None),
    )


def _personal_scanner(world: World) -> None:
    world.given(
        OTHER_DEVICE,
        builders.device_registered(type="personal_scanner", bound_product=None, bound_action=None),
    )


def _nothing(world: World) -> None:
    del world


def _another_tenants(world: World) -> None:
    world.given(OTHER_TENANT, builders.tenant_created(), tenant_id=OTHER_TENANT)
    world.given(OTHER_DEVICE, builders.device_registered(), tenant_id=OTHER_TENANT)


def _without_a_tenant(world: World) -> None:
    world.given(OTHER_DEVICE, builders.device_registered(), tenant_id=OTHER_TENANT)


@pytest.mark.parametrize(
    ("arrange", "tenant_id", "refusal", "code"),
    [
        (_unbound_kiosk, TENANT, Forbidden, "device_not_bound"),
        (_personal_scanner, TENANT, Forbidden, "device_type_not_allowed"),
        (_nothing, TENANT, Unauthenticated, "device_unknown"),
        (_another_tenants, TENANT, Unauthenticated, "device_unknown"),
        (_without_a_tenant, OTHER_TENANT, Unauthenticated, "device_unknown"),
    ],
)
async def test_a_device_that_may_not_transact_leaves_no_trace(
    arrange: Arrange, tenant_id: TenantId, refusal: type[Refusal], code: str
) -> None:
    world = World()
    arrange(world)
    before = len(world.log.read_now())
    with pytest.raises(refusal) as raised:
        await world.transact(device=device(OTHER_DEVICE, tenant_id))
    assert raised.value.code == code
    assert len(world.log.read_now()) == before
    assert (world.palms.budgets_s, world.product.calls) == ([], [])


async def test_a_context_without_a_canonical_form_is_refused_before_anything_happens() -> None:
    world = World()
    with pytest.raises(Refusal, match="context_not_canonical"):
        await world.transact(asking(context={"amount": float("nan")}))
    assert (world.names(transaction()), world.palms.budgets_s) == ([], [])


@pytest.mark.parametrize("tells", [True, False])
async def test_the_device_learns_who_it_was_only_where_the_tenant_says_so(tells: bool) -> None:
    """As the setting was when the device asked: a repeat says what the first answer said."""
    world = World()
    world.settings(device_receives_user_id=tells)
    first = msgspec.to_builtins((await world.transact()).answer)
    assert first.get("user_id") == (wire("usr", USER) if tells else None)
    world.settings(device_receives_user_id=not tells)
    assert msgspec.to_builtins((await world.transact()).answer) == first


async def test_nobody_is_named_where_nobody_was_recognized() -> None:
    world = World()
    world.settings(device_receives_user_id=True)
    _nobody(world)
    assert "user_id" not in msgspec.to_builtins((await world.transact()).answer)
