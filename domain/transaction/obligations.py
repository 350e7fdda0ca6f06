"""What a decided transaction still asks for: a void, an advice, and the device's word.

Everything here may be asked again: what is so already says nothing the second time.
"""

from datetime import datetime, timedelta
from typing import Final

from domain.errors import Conflict
from domain.transaction.aftermath import (
    Shown,
    TransactionAcknowledged,
    TransactionAdviceFailed,
    TransactionAdvised,
    TransactionJournalConflict,
    TransactionVoided,
    TransactionVoidFailed,
    TransactionVoidRequested,
    VoidReason,
)
from domain.transaction.facts import (
    TransactionAllowed,
    TransactionEvent,
    TransactionFailedClosed,
    TransactionFailedOpen,
)
from domain.transaction.lifecycle import Transaction, decide, never_decided

SWEEP_GRACE: Final = timedelta(seconds=5)
"""How long after its lease a transaction is left to a device that asks again."""


def abandon(transaction: Transaction, now: datetime) -> list[TransactionEvent]:
    """Decide what nobody finished: closed, whatever the lane's fail mode, and a void owed.

    There is no gate left to open (reference broker.md §4.3). Nothing while somebody may still be
    at it, or when it is decided.
    """
    intent = transaction.intent
    if intent is None or transaction.decision is not None:
        return []
    if now < intent.lease_until + SWEEP_GRACE:
        return []
    return _abandoned(transaction, now, void_needed=True)


def give_up(transaction: Transaction, now: datetime) -> list[TransactionEvent]:
    """Decide, at the device's word, what can never come to a decision: a vendor failed, and the
    minute for another try is over. No product was asked, so nothing is owed."""
    return (
        _abandoned(transaction, now, void_needed=False) if never_decided(transaction, now) else []
    )


def _abandoned(
    transaction: Transaction, now: datetime, *, void_needed: bool
) -> list[TransactionEvent]:
    waited = now - transaction.received.received_at
    closed = TransactionFailedClosed(
        reason="abandoned",
        void_needed=void_needed,
        detail="",
        authorize_ms=None,
        decided_at=now,
        total_ms=round(waited / timedelta(milliseconds=1), 2),
    )
    return decide(transaction, closed)


def request_void(
    transaction: Transaction, reason: VoidReason, now: datetime
) -> list[TransactionEvent]:
    """The product is owed a void, once. Raises Conflict (`transaction_undecided`)."""
    if transaction.decision is None:
        raise Conflict("transaction_undecided")
    if transaction.intent is None or transaction.void != "none":
        return []
    return [TransactionVoidRequested(reason=reason, requested_at=now)]


def void_reason(transaction: Transaction) -> VoidReason:
    """What the product is told. Raises AssertionError when no void was ever owed."""
    if transaction.void_requested is not None:
        return transaction.void_requested.reason
    assert transaction.void != "none", "a void that is not owed has no reason"
    decision = transaction.decision
    if isinstance(decision, TransactionFailedClosed) and decision.reason != "abandoned":
        return "timeout"
    return "abandoned"


def settle_void(
    transaction: Transaction, event: TransactionVoided | TransactionVoidFailed
) -> list[TransactionEvent]:
    """What came of it. A void that failed may be sent again and be acknowledged after all."""
    open_to = ("owed", "failed") if isinstance(event, TransactionVoided) else ("owed",)
    return [event] if transaction.void in open_to else []


def settle_advice(
    transaction: Transaction, event: TransactionAdvised | TransactionAdviceFailed
) -> list[TransactionEvent]:
    """As with a void."""
    open_to = ("owed", "failed") if isinstance(event, TransactionAdvised) else ("owed",)
    return [event] if transaction.advice in open_to else []


def acknowledge(
    transaction: Transaction, outcome: Shown, shown_at: datetime, now: datetime
) -> list[TransactionEvent]:
    """The device's word; the first one counts. An allow that nobody saw is to be undone.

    Raises Conflict (`transaction_undecided`) while there is nothing to have been shown.
    """
    decision = transaction.decision
    if decision is None:
        raise Conflict("transaction_undecided")
    conflict = TransactionJournalConflict(outcome=outcome, shown_at=shown_at, noted_at=now)
    if transaction.shown is not None:
        known = outcome == transaction.shown or outcome in transaction.contradicted
        return [] if known else [conflict]
    events: list[TransactionEvent] = [
        TransactionAcknowledged(outcome=outcome, shown_at=shown_at, acknowledged_at=now)
    ]
    allowed = isinstance(decision, TransactionAllowed | TransactionFailedOpen)
    if outcome == ("shown_deny" if allowed else "shown_allow"):
        events.append(conflict)
    if allowed and outcome != "shown_allow":
        reason: VoidReason = "not_received" if outcome == "not_received" else "aborted"
        events += request_void(transaction, reason, now)
    return events
