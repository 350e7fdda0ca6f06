"""Whatever happens to a transaction, in whatever order, it says one thing for ever."""

from datetime import datetime, timedelta
from typing import get_args

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from domain.errors import Conflict
from domain.events import DomainEvent
from domain.transaction import (
    Decision,
    Transaction,
    TransactionAllowed,
    TransactionDenied,
    TransactionFailedClosed,
    TransactionFailedOpen,
    TransactionReceived,
    answer,
    attempt_of,
    decide,
    rebuild,
)
from tests.builders import (
    NOW,
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
from tests.spec import recorded

DECISIONS: list[Decision] = [
    transaction_allowed(),
    transaction_denied(),
    transaction_not_recognized(),
    transaction_forbidden(),
    transaction_refused(),
    transaction_failed_closed(void_needed=True),
    transaction_failed_closed(void_needed=False, reason="action_not_allowed"),
    transaction_failed_open(),
]


def concerns_the_product(decision: Decision) -> bool:
    if isinstance(decision, TransactionFailedClosed):
        return decision.void_needed
    return isinstance(decision, TransactionAllowed | TransactionDenied | TransactionFailedOpen)


class TransactionMachine(RuleBasedStateMachine):
    """Several workers meet on one stream; each step goes through the decision that guards it.

    The planted bugs that it was seen to catch: `decide` without its first check, `decide`
    without the intent, `attempt_of` that lets a decided transaction begin again or that forgets
    the minute.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.events: list[DomainEvent] = []
        self.said: bytes | None = None
        self.failed_at: datetime | None = None

    def transaction(self) -> Transaction | None:
        return rebuild(recorded(*self.events))

    def running(self) -> Transaction:
        transaction = self.transaction()
        assert transaction is not None
        return transaction

    @rule()
    def the_device_asks(self) -> None:
        transaction = self.transaction()
        if transaction is None:
            attempt = 1
        elif self.failed_at is None or self.said is not None:
            with pytest.raises(Conflict, match="request_in_progress"):
                attempt_of(transaction, self.now)
            return
        elif self.now - self.failed_at > timedelta(seconds=60):
            with pytest.raises(Conflict, match="idempotency_key_expired"):
                attempt_of(transaction, self.now)
            return
        else:
            attempt = transaction.received.attempt + 1
        assert attempt_of(transaction, self.now) == attempt
        self.events.append(transaction_received(attempt=attempt, received_at=self.now))
        self.failed_at = None

    @rule(seconds=st.sampled_from([30, 60, 61]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.is_at("received"))
    @rule(fails=st.booleans())
    def the_vendor_answers(self, fails: bool) -> None:
        if fails:
            self.events.append(transaction_vendor_failed(failed_at=self.now))
            self.failed_at = self.now
        else:
            self.events.append(transaction_identified())

    @precondition(lambda self: self.is_at("identified"))
    @rule()
    def the_intent_is_recorded(self) -> None:
        self.events.append(transaction_authorization_requested(lease_until=self.now))

    @precondition(lambda self: len(self.events) > 0)
    @rule(decision=st.sampled_from(DECISIONS))
    def somebody_decides(self, decision: Decision) -> None:
        transaction = self.running()
        refused = transaction.decision is not None or (
            concerns_the_product(decision) and transaction.intent is None
        )
        if refused:
            with pytest.raises(Conflict):
                decide(transaction, decision)
            return
        self.events += decide(transaction, decision)
        self.said = msgspec.json.encode(answer(self.running()))

    @precondition(lambda self: self.said is not None)
    @rule()
    def the_answer_is_relayed(self) -> None:
        self.events.append(transaction_relayed(relayed_at=self.now))

    def is_at(self, status: str) -> bool:
        transaction = self.transaction()
        return (
            transaction is not None
            and transaction.status == status
            and transaction.vendor_failed is None
        )

    @invariant()
    def there_is_at_most_one_decision(self) -> None:
        decisions = [event for event in self.events if type(event) in DECISION_CLASSES]
        assert len(decisions) <= 1
        assert (self.said is None) == (not decisions)

    @invariant()
    def the_answer_never_changes_once_decided(self) -> None:
        if self.said is not None:
            assert msgspec.json.encode(answer(self.running())) == self.said

    @invariant()
    def nobody_is_let_in_or_told_no_by_a_product_that_was_not_asked(self) -> None:
        transaction = self.transaction()
        if transaction is not None and transaction.decision is not None:
            decision = transaction.decision
            assert transaction.intent is not None or not concerns_the_product(decision)

    @invariant()
    def versions_have_no_gaps(self) -> None:
        transaction = self.transaction()
        assert (0 if transaction is None else transaction.version) == len(self.events)

    @invariant()
    def attempts_are_counted_without_gaps(self) -> None:
        received = [event for event in self.events if isinstance(event, TransactionReceived)]
        assert [event.attempt for event in received] == list(range(1, len(received) + 1))


DECISION_CLASSES = {type(decision) for decision in DECISIONS}

TransactionMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=25, deadline=None
)
TestTransaction = TransactionMachine.TestCase


def test_the_machine_knows_every_decision() -> None:

    assert set(get_args(Decision)) == DECISION_CLASSES
