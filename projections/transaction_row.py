"""A row of read model `transactions`, and what each fact makes of it."""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from domain.events import DomainEvent, Recorded
from domain.fail_mode import FailMode
from domain.folding import UnexpectedEvent
from domain.ids import DeviceId, LinkedServiceId, TenantId, TransactionId, UserId
from domain.transaction import (
    Debt,
    Decision,
    Shown,
    TransactionAcknowledged,
    TransactionAdviceFailed,
    TransactionAdvised,
    TransactionAllowed,
    TransactionAuthorizationRequested,
    TransactionDenied,
    TransactionFailedClosed,
    TransactionFailedOpen,
    TransactionForbidden,
    TransactionIdentified,
    TransactionJournalConflict,
    TransactionNotRecognized,
    TransactionReceived,
    TransactionRefused,
    TransactionRelayed,
    TransactionVendorFailed,
    TransactionVoided,
    TransactionVoidFailed,
    TransactionVoidRequested,
)

TransactionState = Literal[
    "received", "identified", "authorizing", "vendor_failed", "decided", "relayed"
]
Outcome = Literal[
    "allow",
    "deny",
    "not_recognized",
    "forbidden",
    "refused",
    "fail_closed",
    "fail_open",
    "vendor_error",
]
ToldDevice = Literal["allow", "deny", "not_recognized"]


class TransactionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction. Durations in milliseconds; `position` orders listings.

    `outcome` is what the ledger knows, `decision` what the device was told, `reason` why. Service,
    product and action are known once the product was about to be asked. `scores` stand beside the
    effective `thresholds`, in the order of `domain.matching.SCORE_NAMES`; who may see them is
    for the caller to say. `lease_until` says until when an undecided one is somebody's. `void`
    and `advice` say what the product is owed, `shown` what the device's journal says.
    """

    transaction_id: TransactionId
    tenant_id: TenantId
    version: int
    position: int
    last_position: int
    correlation_id: UUID
    state: TransactionState
    attempt: int
    device_id: DeviceId
    received_at: datetime
    deadline_ms: int
    user_id: UserId | None = None
    match_source: Literal["server", "device"] | None = None
    scores: tuple[float, ...] | None = None
    thresholds: tuple[float, ...] | None = None
    policy_version: int | None = None
    identify_ms: float | None = None
    service_id: LinkedServiceId | None = None
    service_version: int | None = None
    product_key: str | None = None
    action: str | None = None
    fail_mode: FailMode | None = None
    outcome: Outcome | None = None
    decision: ToldDevice | None = None
    reason: str | None = None
    stand_in: bool = False
    void_needed: bool = False
    advice_needed: bool = False
    authorize_ms: float | None = None
    total_ms: float | None = None
    decided_at: datetime | None = None
    relayed_at: datetime | None = None
    lease_until: datetime | None = None
    void: Debt = "none"
    advice: Debt = "none"
    shown: Shown | None = None
    shown_at: datetime | None = None
    journal_conflict: bool = False


def reduce(row: TransactionRow | None, recorded: Recorded) -> TransactionRow:
    """The transaction's row after one more fact."""
    event = recorded.event
    if isinstance(event, TransactionReceived):
        return _received(row, recorded, event)
    if row is None:
        raise UnexpectedEvent(event)
    replace = msgspec.structs.replace
    row = replace(row, version=recorded.version, last_position=recorded.position)
    match event:
        case TransactionIdentified():
            return replace(
                row,
                state="identified",
                user_id=event.user_id,
                match_source=event.match_source,
                scores=event.scores,
                thresholds=event.thresholds,
                policy_version=event.policy_version,
                identify_ms=event.identify_ms,
            )
        case TransactionAuthorizationRequested():
            return replace(
                row,
                state="authorizing",
                service_id=event.service_id,
                service_version=event.service_version,
                product_key=event.product_key,
                action=event.action,
                fail_mode=event.fail_mode,
                lease_until=event.lease_until,
            )
        case TransactionVendorFailed():
            return replace(
                row,
                state="vendor_failed",
                outcome="vendor_error",
                reason=event.reason,
                total_ms=event.total_ms,
            )
        case TransactionRelayed():
            return replace(row, state="relayed", relayed_at=event.relayed_at)
        case _ if isinstance(event, Decision):
            decided = replace(
                row, state="decided", decided_at=event.decided_at, total_ms=event.total_ms
            )
            return _decided(decided, event)
        case _ if row.decision is not None:
            return _followed(row, event)
        case other:
            raise UnexpectedEvent(other)


def _followed(row: TransactionRow, event: DomainEvent) -> TransactionRow:
    replace = msgspec.structs.replace
    match event:
        case TransactionVoidRequested():
            return replace(row, void="owed", void_needed=True)
        case TransactionVoided():
            return replace(row, void="settled")
        case TransactionVoidFailed():
            return replace(row, void="failed")
        case TransactionAdvised():
            return replace(row, advice="settled")
        case TransactionAdviceFailed():
            return replace(row, advice="failed")
        case TransactionAcknowledged():
            return replace(row, shown=event.outcome, shown_at=event.shown_at)
        case TransactionJournalConflict():
            return replace(row, journal_conflict=True)
        case other:
            raise UnexpectedEvent(other)


def _received(
    row: TransactionRow | None, recorded: Recorded, event: TransactionReceived
) -> TransactionRow:
    """A further attempt begins the row anew, in the place that the first one had."""
    return TransactionRow(
        transaction_id=TransactionId(recorded.stream_id),
        tenant_id=recorded.tenant_id,
        version=recorded.version,
        position=recorded.position if row is None else row.position,
        last_position=recorded.position,
        correlation_id=recorded.correlation_id,
        state="received",
        attempt=event.attempt,
        device_id=event.device_id,
        received_at=event.received_at,
        deadline_ms=event.deadline_ms,
    )


def _decided(row: TransactionRow, event: Decision) -> TransactionRow:
    replace = msgspec.structs.replace
    match event:
        case TransactionAllowed():
            return replace(
                row,
                outcome="allow",
                decision="allow",
                authorize_ms=event.authorize_ms,
            )
        case TransactionDenied():
            return replace(
                row,
                outcome="deny",
                decision="deny",
                reason=event.reason,
                authorize_ms=event.authorize_ms,
            )
        case TransactionNotRecognized():
            return replace(
                row,
                outcome="not_recognized",
                decision="not_recognized",
                reason=event.reason,
                scores=event.scores,
                thresholds=event.thresholds,
                policy_version=event.policy_version,
                identify_ms=event.identify_ms,
            )
        case TransactionForbidden():
            return replace(row, outcome="forbidden", decision="deny", reason=event.reason)
        case TransactionRefused():
            return replace(
                row,
                outcome="refused",
                decision="deny",
                reason=event.reason,
                user_id=event.user_id,
                void_needed=event.void_needed,
                void="owed" if event.void_needed else "none",
            )
        case TransactionFailedClosed():
            return replace(
                row,
                outcome="fail_closed",
                decision="deny",
                reason=event.reason,
                void_needed=event.void_needed,
                void="owed" if event.void_needed else "none",
                authorize_ms=event.authorize_ms,
            )
        case TransactionFailedOpen():
            return replace(
                row,
                outcome="fail_open",
                decision="allow",
                reason=event.reason,
                stand_in=True,
                advice_needed=event.advice_needed,
                advice="owed" if event.advice_needed else "none",
                authorize_ms=event.authorize_ms,
            )
