"""When each step of a transaction was, and how long those took that somebody waited for."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from domain.events import DomainEvent, Recorded
from domain.transaction.aftermath import (
    TransactionAcknowledged,
    TransactionAdviceFailed,
    TransactionAdvised,
    TransactionJournalConflict,
    TransactionVoided,
    TransactionVoidFailed,
    TransactionVoidRequested,
)
from domain.transaction.facts import (
    Decision,
    TransactionAuthorizationRequested,
    TransactionIdentified,
    TransactionNotRecognized,
    TransactionReceived,
    TransactionRelayed,
    TransactionVendorFailed,
)

StepName = Literal[
    "received",
    "identify",
    "palm_vendor_failed",
    "intent_committed",
    "authorize",
    "decided",
    "decision_committed",
    "relayed",
    "shown",
    "journal_conflict",
    "void_requested",
    "voided",
    "void_failed",
    "advised",
    "advice_failed",
]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step: when it began, how far after the device asked, and how long it took.

    `ms` is None for what is a moment. Moments of commits are by the database's clock and all others
    by that of the process, so a few milliseconds between the two say nothing.
    """

    name: StepName
    at: datetime
    offset_ms: float
    ms: float | None = None


def course(past: Sequence[Recorded]) -> list[Step]:
    """The steps of a transaction's stream, the earliest first."""
    begun: datetime | None = None
    attempt: datetime | None = None
    steps: list[Step] = []
    for recorded in past:
        if isinstance(recorded.event, TransactionReceived):
            attempt = recorded.event.received_at
            begun = begun or attempt
        assert begun is not None, "a stream begins with its first event"
        assert attempt is not None, "as above"
        steps += [_step(name, at, begun, ms) for name, at, ms in _steps_of(recorded, attempt)]
    return sorted(steps, key=lambda step: step.at)


def own_ms(past: Sequence[Recorded]) -> float | None:
    """What the platform itself took of the device's wait, vendor and product left out."""
    identify = authorize = 0.0
    total: float | None = None
    for recorded in past:
        identify = getattr(recorded.event, "identify_ms", identify)
        authorize = getattr(recorded.event, "authorize_ms", None) or authorize
        total = getattr(recorded.event, "total_ms", total)
        if isinstance(recorded.event, TransactionReceived | TransactionVendorFailed):
            total = None  # only of the attempt that decided is the time known
    return None if total is None else round(max(0.0, total - identify - authorize), 2)


def _step(name: StepName, at: datetime, begun: datetime, ms: float | None) -> Step:
    return Step(name=name, at=at, offset_ms=_ms(at - begun), ms=ms)


_MOMENTS: Final[Mapping[type[DomainEvent], tuple[StepName, str]]] = {
    TransactionReceived: ("received", "received_at"),
    TransactionRelayed: ("relayed", "relayed_at"),
    TransactionAcknowledged: ("shown", "acknowledged_at"),
    TransactionJournalConflict: ("journal_conflict", "noted_at"),
    TransactionVoidRequested: ("void_requested", "requested_at"),
    TransactionVoided: ("voided", "voided_at"),
    TransactionVoidFailed: ("void_failed", "failed_at"),
    TransactionAdvised: ("advised", "advised_at"),
    TransactionAdviceFailed: ("advice_failed", "failed_at"),
}
"""What is a moment and nothing else, and the field that says when."""


def _steps_of(
    recorded: Recorded, attempt: datetime
) -> list[tuple[StepName, datetime, float | None]]:
    event = recorded.event
    if type(event) in _MOMENTS:
        name, field = _MOMENTS[type(event)]
        return [(name, getattr(event, field), None)]
    if isinstance(event, TransactionIdentified):
        return [("identify", attempt, event.identify_ms)]
    if isinstance(event, TransactionAuthorizationRequested):
        return [("intent_committed", recorded.recorded_at, None)]
    if isinstance(event, TransactionVendorFailed):
        return [("palm_vendor_failed", event.failed_at, event.total_ms)]
    return _decision(event, recorded.recorded_at, attempt) if isinstance(event, Decision) else []


def _decision(
    decision: Decision, committed_at: datetime, attempt: datetime
) -> list[tuple[StepName, datetime, float | None]]:
    before: list[tuple[StepName, datetime, float | None]] = []
    if isinstance(decision, TransactionNotRecognized):
        before = [("identify", attempt, decision.identify_ms)]
    took: float | None = getattr(decision, "authorize_ms", None)
    if took is not None:
        before = [("authorize", decision.decided_at - timedelta(milliseconds=took), took)]
    decided: tuple[StepName, datetime, float | None] = ("decided", decision.decided_at, None)
    return [*before, decided, ("decision_committed", committed_at, None)]


def _ms(time: timedelta) -> float:
    return round(time / timedelta(milliseconds=1), 2)
