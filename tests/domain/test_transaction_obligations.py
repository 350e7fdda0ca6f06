"""What a decision leaves to be done: each thing once, whoever asks for it how often."""

from datetime import timedelta
from typing import Any

import pytest

from domain.errors import Conflict
from domain.events import DomainEvent
from domain.transaction import (
    Shown,
    abandon,
    acknowledge,
    rebuild,
    request_void,
    settle_advice,
    settle_void,
    void_reason,
)
from tests.builders import (
    NOW,
    transaction_acknowledged,
    transaction_advice_failed,
    transaction_advised,
    transaction_allowed,
    transaction_authorization_requested,
    transaction_denied,
    transaction_failed_closed,
    transaction_failed_open,
    transaction_identified,
    transaction_journal_conflict,
    transaction_not_recognized,
    transaction_received,
    transaction_refused,
    transaction_void_failed,
    transaction_void_requested,
    transaction_voided,
)
from tests.spec import given

LEASE_OVER = NOW + timedelta(seconds=5)
ASKED = (
    transaction_received(),
    transaction_identified(),
    transaction_authorization_requested(lease_until=LEASE_OVER),
)
ALLOWED = (*ASKED, transaction_allowed())
CLOSED = (*ASKED, transaction_failed_closed(void_needed=True))
OPENED = (*ASKED, transaction_failed_open())
LATER = NOW + timedelta(minutes=1)


def test_what_nobody_finished_is_closed_five_seconds_after_its_lease_with_a_void_owed() -> None:
    now = LEASE_OVER + timedelta(seconds=5)
    given(rebuild, *ASKED).when(abandon, now).then(
        transaction_failed_closed(
            reason="abandoned",
            void_needed=True,
            detail="",
            authorize_ms=None,
            decided_at=now,
            total_ms=10_000.0,
        )
    )


@pytest.mark.parametrize(
    ("past", "after_s"),
    [
        (ASKED, 4.999),
        (ALLOWED, 3600),
        ((transaction_received(),), 3600),
        ((transaction_received(), transaction_not_recognized()), 3600),
    ],
)
def test_what_is_decided_or_somebodys_or_asked_nobody_is_left_alone(
    past: tuple[DomainEvent, ...], after_s: float
) -> None:
    given(rebuild, *past).when(abandon, LEASE_OVER + timedelta(seconds=after_s)).then_nothing()


def test_a_lane_that_fails_open_is_closed_too_when_nobody_is_left_to_pass() -> None:
    intent = transaction_authorization_requested(fail_mode="open", lease_until=NOW)
    past = (transaction_received(), transaction_identified(), intent)
    now = NOW + timedelta(hours=1)
    given(rebuild, *past).when(abandon, now).then(
        transaction_failed_closed(
            reason="abandoned",
            void_needed=True,
            detail="",
            authorize_ms=None,
            decided_at=now,
            total_ms=3_600_000.0,
        )
    )


def test_a_void_is_owed_once() -> None:
    asked = transaction_void_requested(reason="late_allow", requested_at=LATER)
    denied = (*ASKED, transaction_denied())
    given(rebuild, *denied).when(request_void, "late_allow", LATER).then(asked)
    given(rebuild, *denied, asked).when(request_void, "late_allow", LATER).then_nothing()
    given(rebuild, *CLOSED).when(request_void, "late_allow", LATER).then_nothing()
    given(rebuild, *denied, asked, transaction_voided()).when(
        request_void, "aborted", LATER
    ).then_nothing()


def test_nobody_was_asked_so_nobody_is_owed_a_void() -> None:
    past = (transaction_received(), transaction_not_recognized())
    given(rebuild, *past).when(request_void, "aborted", LATER).then_nothing()
    given(rebuild, *ASKED).when(request_void, "aborted", LATER).then_refused(
        Conflict, "transaction_undecided"
    )


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        ((transaction_failed_closed(reason="authorize_timeout"),), "timeout"),
        ((transaction_failed_closed(reason="abandoned"),), "abandoned"),
        ((transaction_refused(void_needed=True),), "abandoned"),
        ((transaction_allowed(), transaction_void_requested(reason="aborted")), "aborted"),
    ],
)
def test_the_product_is_told_why(after: tuple[DomainEvent, ...], reason: str) -> None:
    given(rebuild, *ASKED, *after).when(void_reason).then_returns(reason)


def test_a_void_is_settled_once_and_a_failed_one_may_still_be() -> None:
    failed, done = transaction_void_failed(), transaction_voided()
    given(rebuild, *CLOSED).when(settle_void, done).then(done)
    given(rebuild, *CLOSED).when(settle_void, failed).then(failed)
    given(rebuild, *CLOSED, done).when(settle_void, done).then_nothing()
    given(rebuild, *CLOSED, done).when(settle_void, failed).then_nothing()
    given(rebuild, *CLOSED, failed).when(settle_void, failed).then_nothing()
    given(rebuild, *CLOSED, failed).when(settle_void, done).then(done)
    given(rebuild, *ALLOWED).when(settle_void, done).then_nothing()


def test_an_advice_is_settled_once_and_a_failed_one_may_still_be() -> None:
    failed, done = transaction_advice_failed(), transaction_advised()
    given(rebuild, *OPENED).when(settle_advice, done).then(done)
    given(rebuild, *OPENED, failed).when(settle_advice, failed).then_nothing()
    given(rebuild, *OPENED, failed).when(settle_advice, done).then(done)
    given(rebuild, *OPENED, done).when(settle_advice, failed).then_nothing()
    given(rebuild, *CLOSED).when(settle_advice, done).then_nothing()


def _said(outcome: Shown, **more: Any) -> DomainEvent:
    return transaction_acknowledged(outcome=outcome, shown_at=NOW, acknowledged_at=LATER, **more)


def _contradiction(outcome: Shown) -> DomainEvent:
    return transaction_journal_conflict(outcome=outcome, shown_at=NOW, noted_at=LATER)


@pytest.mark.parametrize(
    ("past", "outcome", "then"),
    [
        (ALLOWED, "shown_allow", ()),
        (ALLOWED, "not_received", (transaction_void_requested(reason="not_received"),)),
        (ALLOWED, "aborted", (transaction_void_requested(reason="aborted"),)),
        (
            ALLOWED,
            "shown_deny",
            (_contradiction("shown_deny"), transaction_void_requested(reason="aborted")),
        ),
        (OPENED, "shown_allow", ()),
        (OPENED, "not_received", (transaction_void_requested(reason="not_received"),)),
        (CLOSED, "shown_deny", ()),
        (CLOSED, "not_received", ()),
        (CLOSED, "shown_allow", (_contradiction("shown_allow"),)),
    ],
)
def test_an_allow_that_nobody_saw_is_to_be_undone(
    past: tuple[DomainEvent, ...], outcome: Shown, then: tuple[DomainEvent, ...]
) -> None:
    given(rebuild, *past).when(acknowledge, outcome, NOW, LATER).then(_said(outcome), *then)


def test_the_first_word_of_a_device_counts_and_another_one_is_a_conflict_once() -> None:
    past = (*ALLOWED, _said("shown_allow"))
    conflict = _contradiction("not_received")
    given(rebuild, *past).when(acknowledge, "shown_allow", NOW, LATER).then_nothing()
    given(rebuild, *past).when(acknowledge, "not_received", NOW, LATER).then(conflict)
    given(rebuild, *past, conflict).when(acknowledge, "not_received", NOW, LATER).then_nothing()


def test_what_is_not_decided_cannot_have_been_shown() -> None:
    given(rebuild, *ASKED).when(acknowledge, "not_received", NOW, LATER).then_refused(
        Conflict, "transaction_undecided"
    )
