"""One palm, one question, one decision, and one answer for ever."""

from datetime import datetime, timedelta
from typing import ClassVar, cast
from uuid import UUID

import msgspec
import pytest

from domain.errors import Conflict, Invalid
from domain.events import DomainEvent
from domain.folding import UnexpectedEvent
from domain.transaction import (
    VENDOR_RETRY,
    Decision,
    Fingerprint,
    ProductText,
    Transaction,
    answer,
    attempt_of,
    check_same_request,
    decide,
    rebuild,
)
from tests.builders import (
    NOW,
    claim_taken,
    device_revoked,
    transaction_allowed,
    transaction_authorization_requested,
    transaction_denied,
    transaction_failed_closed,
    transaction_failed_open,
    transaction_forbidden,
    transaction_identified,
    transaction_not_recognized,
    transaction_received,
    transaction_refused,
    transaction_relayed,
    transaction_vendor_failed,
)
from tests.spec import TENANT, given, recorded

STREAM = UUID("0198c000-0000-7000-8000-000000000077")
RECEIVED = (transaction_received(),)
IDENTIFIED = (*RECEIVED, transaction_identified())
ASKED = (*IDENTIFIED, transaction_authorization_requested())
VENDOR_FAILED = (*RECEIVED, transaction_vendor_failed(failed_at=NOW))

NEED_NO_INTENT: list[Decision] = [
    transaction_not_recognized(),
    transaction_forbidden(),
    transaction_refused(),
    transaction_failed_closed(reason="linked_service_unavailable", void_needed=False),
]
NEED_THE_INTENT: list[Decision] = [
    transaction_allowed(),
    transaction_denied(),
    transaction_failed_open(),
    transaction_failed_closed(void_needed=True),
]


def transaction_after(*events: DomainEvent) -> Transaction:
    transaction = rebuild(recorded(*events, stream_id=STREAM))
    assert transaction is not None
    return transaction


@pytest.mark.parametrize("decision", NEED_NO_INTENT + NEED_THE_INTENT)
def test_an_asked_transaction_takes_any_one_decision(decision: Decision) -> None:
    given(rebuild, *ASKED).when(decide, decision).then(decision)


@pytest.mark.parametrize("decision", NEED_NO_INTENT)
def test_what_no_product_knows_of_is_decided_without_an_intent(decision: Decision) -> None:
    given(rebuild, *RECEIVED).when(decide, decision).then(decision)
    given(rebuild, *IDENTIFIED).when(decide, decision).then(decision)


@pytest.mark.parametrize("decision", NEED_THE_INTENT)
def test_what_a_product_must_stand_by_or_undo_needs_the_intent(decision: Decision) -> None:
    given(rebuild, *RECEIVED).when(decide, decision).then_refused(Conflict, "intent_missing")
    given(rebuild, *IDENTIFIED).when(decide, decision).then_refused(Conflict, "intent_missing")


@pytest.mark.parametrize("second", NEED_NO_INTENT + NEED_THE_INTENT)
@pytest.mark.parametrize("first", [transaction_allowed(), transaction_failed_closed()])
def test_there_is_no_second_decision(first: Decision, second: Decision) -> None:
    given(rebuild, *ASKED, first).when(decide, second).then_refused(Conflict, "transaction_decided")


def test_the_first_attempt_is_number_one() -> None:
    given(rebuild).when(attempt_of, NOW).then_returns(1)


@pytest.mark.parametrize(
    "now", [NOW - timedelta(seconds=1), NOW, NOW + timedelta(seconds=59), NOW + VENDOR_RETRY]
)
def test_the_same_key_tries_again_within_a_minute_of_a_vendor_failure(now: datetime) -> None:
    given(rebuild, *VENDOR_FAILED).when(attempt_of, now).then_returns(2)
    second = (*VENDOR_FAILED, transaction_received(attempt=2), transaction_vendor_failed())
    given(rebuild, *second).when(attempt_of, NOW).then_returns(3)


def test_after_that_minute_the_palm_is_captured_again_under_a_new_key() -> None:
    given(rebuild, *VENDOR_FAILED).when(
        attempt_of, NOW + VENDOR_RETRY + timedelta(microseconds=1)
    ).then_refused(Conflict, "idempotency_key_expired")


@pytest.mark.parametrize(
    "past",
    [
        RECEIVED,
        IDENTIFIED,
        ASKED,
        (*ASKED, transaction_allowed()),
        (*VENDOR_FAILED, transaction_received(attempt=2)),
        (*VENDOR_FAILED, transaction_failed_closed(void_needed=False)),
        (*VENDOR_FAILED, transaction_authorization_requested()),
    ],
)
def test_only_one_attempt_runs_at_a_time(past: tuple[DomainEvent, ...]) -> None:
    given(rebuild, *past).when(attempt_of, NOW).then_refused(Conflict, "request_in_progress")


@pytest.mark.parametrize(
    ("commitments", "same", "other"),
    [
        ("tenant_salted", Fingerprint("a", "-"), Fingerprint("b", "a")),
        ("sha256", Fingerprint("-", "a"), Fingerprint("a", "b")),
    ],
)
def test_a_key_belongs_to_one_request(
    commitments: str, same: Fingerprint, other: Fingerprint
) -> None:
    past = transaction_received(fingerprint="a", commitments=commitments)
    given(rebuild, past).when(check_same_request, same).then_returns(None)
    given(rebuild, past).when(check_same_request, other).then_refused(
        Invalid, "idempotency_key_reused"
    )


@pytest.mark.parametrize(
    ("past", "status"),
    [
        (RECEIVED, "received"),
        (VENDOR_FAILED, "received"),
        (IDENTIFIED, "identified"),
        (ASKED, "authorizing"),
        ((*ASKED, transaction_denied()), "decided"),
        ((*RECEIVED, transaction_forbidden()), "decided"),
        ((*ASKED, transaction_denied(), transaction_relayed()), "decided"),
    ],
)
def test_a_transaction_says_how_far_it_is(past: tuple[DomainEvent, ...], status: str) -> None:
    assert transaction_after(*past).status == status


COMMON = '{"transaction_id":"txn_0198c000000070008000000000000077",'
USER = '"user_id":"usr_0198c0000000700080000000000000a1"'
TEXT = ProductText(display_message="Approved - SAR 50.00", reference_id="wal_889")
WORDED = (
    COMMON + '"decision":"allow","reason":null,"display_message":"Approved - SAR 50.00",'
    '"product_reference":"wal_889","ttl_seconds":30,"stand_in":false,'
    '"decided_at":"2026-03-01T09:00:00.900000Z",' + USER + "}"
)


@pytest.mark.parametrize(
    ("past", "encoded"),
    [
        (
            (*ASKED, transaction_allowed()),
            COMMON
            + '"decision":"allow","reason":null,"display_message":"","product_reference":null,'
            '"ttl_seconds":30,"stand_in":false,"decided_at":"2026-03-01T09:00:00.900000Z",'
            + USER
            + ',"shredded":true}',
        ),
        (
            (*ASKED, transaction_denied()),
            COMMON + '"decision":"deny","reason":"insufficient_funds","display_message":"",'
            '"product_reference":null,"ttl_seconds":0,"stand_in":false,'
            '"decided_at":"2026-03-01T09:00:00.900000Z",' + USER + ',"shredded":true}',
        ),
        (
            (*ASKED, transaction_allowed(text_commitment=None)),
            COMMON
            + '"decision":"allow","reason":null,"display_message":"","product_reference":null,'
            '"ttl_seconds":30,"stand_in":false,"decided_at":"2026-03-01T09:00:00.900000Z",'
            + USER
            + "}",
        ),
        (
            (*ASKED, transaction_allowed(text_commitment=None, text_in_clear=TEXT)),
            WORDED,
        ),
        (
            (*RECEIVED, transaction_not_recognized()),
            COMMON + '"decision":"not_recognized","reason":"low_confidence",'
            '"display_message":"Palm not recognized","product_reference":null,"ttl_seconds":0,'
            '"stand_in":false,"decided_at":"2026-03-01T09:00:00.860000Z"}',
        ),
        (
            (*RECEIVED, transaction_forbidden()),
            COMMON + '"decision":"deny","reason":"palm_type_not_allowed",'
            '"display_message":"Try other hand","product_reference":null,"ttl_seconds":0,'
            '"stand_in":false,"decided_at":"2026-03-01T09:00:00.860000Z"}',
        ),
        (
            (*IDENTIFIED, transaction_refused()),
            COMMON + '"decision":"deny","reason":"user_suspended",'
            '"display_message":"Not available","product_reference":null,"ttl_seconds":0,'
            '"stand_in":false,"decided_at":"2026-03-01T09:00:00.860000Z",' + USER + "}",
        ),
        (
            (*ASKED, transaction_failed_closed()),
            COMMON + '"decision":"deny","reason":"authorize_timeout",'
            '"display_message":"Try again","product_reference":null,"ttl_seconds":0,'
            '"stand_in":false,"decided_at":"2026-03-01T09:00:01.700000Z",' + USER + "}",
        ),
        (
            (*ASKED, transaction_failed_open()),
            COMMON + '"decision":"allow","reason":"connect_error","display_message":"",'
            '"product_reference":null,"ttl_seconds":0,"stand_in":true,'
            '"decided_at":"2026-03-01T09:00:00.900000Z",' + USER + "}",
        ),
    ],
    ids=[
        "allowed, shredded",
        "denied, shredded",
        "allowed without a word",
        "allowed in clear",
        "not recognized",
        "forbidden",
        "refused",
        "failed closed",
        "failed open",
    ],
)
def test_an_answer_is_the_same_bytes_for_ever(past: tuple[DomainEvent, ...], encoded: str) -> None:
    first = msgspec.json.encode(answer(transaction_after(*past)))
    again = msgspec.json.encode(answer(transaction_after(*past, transaction_relayed())))
    assert first.decode() == encoded
    assert again == first


def test_an_answer_whose_text_is_open_has_it() -> None:
    opened = msgspec.structs.replace(transaction_after(*ASKED, transaction_allowed()), text=TEXT)
    assert msgspec.json.encode(answer(opened)).decode() == WORDED


def test_the_device_learns_the_person_only_where_the_tenant_said_so_at_receipt() -> None:
    discreet = (transaction_received(tells_user_id=False), *ASKED[1:], transaction_allowed())
    assert answer(transaction_after(*discreet)).user_id is msgspec.UNSET
    assert b"usr_" not in msgspec.json.encode(answer(transaction_after(*discreet)))


def test_nobody_is_named_when_nobody_was_identified() -> None:
    transaction = transaction_after(*RECEIVED, transaction_not_recognized())
    assert answer(transaction).user_id is msgspec.UNSET


def test_an_undecided_transaction_has_no_answer() -> None:
    with pytest.raises(AssertionError, match="only a decided transaction"):
        answer(transaction_after(*ASKED))


class TransactionPostponed(DomainEvent, frozen=True, kw_only=True):
    """A decision of a later day, which today's answers know nothing of."""

    NAME: ClassVar[str] = "transaction.postponed"
    decided_at: datetime


def test_a_decision_without_an_answer_of_its_own_is_a_loud_bug() -> None:
    stranger = cast("Decision", TransactionPostponed(decided_at=NOW))
    with pytest.raises(AssertionError, match="Postponed"):
        answer(msgspec.structs.replace(transaction_after(*ASKED), decision=stranger))


def test_a_retry_after_a_vendor_failure_begins_afresh() -> None:
    transaction = transaction_after(
        *IDENTIFIED, transaction_vendor_failed(), transaction_received(attempt=2)
    )
    assert (transaction.version, transaction.received.attempt) == (4, 2)
    assert (transaction.identified, transaction.vendor_failed) == (None, None)


def test_a_transaction_remembers_what_happened_to_it() -> None:
    allowed = transaction_allowed()
    transaction = transaction_after(*ASKED, allowed)
    assert (transaction.id, transaction.tenant_id, transaction.version) == (STREAM, TENANT, 4)
    assert transaction.identified == transaction_identified()
    assert transaction.intent == transaction_authorization_requested()
    assert (transaction.decision, transaction.relayed) == (allowed, False)
    assert transaction_after(*ASKED, allowed, transaction_relayed()).relayed


@pytest.mark.parametrize(
    "stray",
    [
        (transaction_identified(),),
        (transaction_allowed(),),
        (claim_taken(),),
        (*RECEIVED, device_revoked()),
        (*RECEIVED, transaction_received()),
        (*ASKED, transaction_allowed(), transaction_denied()),
        (*ASKED, transaction_allowed(), transaction_received(attempt=2)),
    ],
)
def test_no_stray_event_becomes_part_of_a_transaction(stray: tuple[DomainEvent, ...]) -> None:
    with pytest.raises(UnexpectedEvent):
        rebuild(recorded(*stray))
