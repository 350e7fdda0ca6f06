"""Read model `transactions`: one row per transaction, from the palm to the gate."""

from datetime import datetime
from typing import Final, Literal, LiteralString, get_args
from uuid import UUID

import msgspec

from domain.events import Recorded
from domain.fail_mode import FailMode
from domain.folding import UnexpectedEvent
from domain.ids import DeviceId, LinkedServiceId, TenantId, TransactionId, UserId
from domain.transaction import (
    Decision,
    TransactionAllowed,
    TransactionAuthorizationRequested,
    TransactionDenied,
    TransactionEvent,
    TransactionFailedClosed,
    TransactionFailedOpen,
    TransactionForbidden,
    TransactionIdentified,
    TransactionNotRecognized,
    TransactionReceived,
    TransactionRefused,
    TransactionRelayed,
    TransactionVendorFailed,
)
from projections.read_model import Connection, Page, ReadModel, fetch_one, page
from projections.stream_rows import StreamRows

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

DDL: Final = """
    CREATE TABLE transactions (
        transaction_id  uuid        PRIMARY KEY,
        tenant_id       uuid        NOT NULL,
        version         bigint      NOT NULL,
        position        bigint      NOT NULL,
        last_position   bigint      NOT NULL,
        correlation_id  uuid        NOT NULL,
        state           text        NOT NULL,
        attempt         integer     NOT NULL,
        device_id       uuid        NOT NULL,
        received_at     timestamptz NOT NULL,
        deadline_ms     integer     NOT NULL,
        user_id         uuid,
        match_source    text,
        scores          float8[],
        thresholds      float8[],
        policy_version  integer,
        identify_ms     float8,
        service_id      uuid,
        service_version bigint,
        product_key     text,
        action          text,
        fail_mode       text,
        outcome         text,
        decision        text,
        reason          text,
        stand_in        boolean     NOT NULL,
        void_needed     boolean     NOT NULL,
        advice_needed   boolean     NOT NULL,
        reference_id    text,
        authorize_ms    float8,
        total_ms        float8,
        decided_at      timestamptz,
        relayed_at      timestamptz
    );
    CREATE INDEX transactions_listing ON transactions (tenant_id, position);
    CREATE INDEX transactions_device ON transactions (tenant_id, device_id, position);
    CREATE INDEX transactions_user ON transactions (tenant_id, user_id, position);
"""


class TransactionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction. Durations in milliseconds; `position` orders listings.

    `outcome` is what the ledger knows, `decision` what the device was told, `reason` why. Service,
    product and action are known once the product was about to be asked. `scores` stand beside the
    effective `thresholds`, in the order of `domain.matching.SCORE_NAMES`; who may see them is
    for the caller to say.
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
    reference_id: str | None = None
    authorize_ms: float | None = None
    total_ms: float | None = None
    decided_at: datetime | None = None
    relayed_at: datetime | None = None


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
                reference_id=event.reference_id,
                authorize_ms=event.authorize_ms,
            )
        case TransactionDenied():
            return replace(
                row,
                outcome="deny",
                decision="deny",
                reason=event.reason,
                reference_id=event.reference_id,
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
            )
        case TransactionFailedClosed():
            return replace(
                row,
                outcome="fail_closed",
                decision="deny",
                reason=event.reason,
                void_needed=event.void_needed,
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
                authorize_ms=event.authorize_ms,
            )


READ_MODEL: Final = ReadModel(
    name="transactions",
    version=1,
    tables=("transactions",),
    ddl=DDL,
    listens_to=get_args(TransactionEvent),
    project=StreamRows("transactions", "transaction_id", TransactionRow, reduce).project,
)

_BY_ID: Final[LiteralString] = """
    SELECT * FROM read_models.transactions
    WHERE tenant_id = %(tenant_id)s AND transaction_id = %(transaction_id)s
"""
_BY_TENANT: Final[LiteralString] = """
    SELECT * FROM read_models.transactions
    WHERE tenant_id = %(tenant_id)s
      AND (%(after)s::bigint IS NULL OR position < %(after)s)
      AND (%(device_id)s::uuid IS NULL OR device_id = %(device_id)s)
      AND (%(user_id)s::uuid IS NULL OR user_id = %(user_id)s)
      AND (%(product_key)s::text IS NULL OR product_key = %(product_key)s)
      AND (%(state)s::text IS NULL OR state = %(state)s)
      AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
      AND (%(since)s::timestamptz IS NULL OR received_at >= %(since)s)
      AND (%(until)s::timestamptz IS NULL OR received_at < %(until)s)
    ORDER BY position DESC
    LIMIT %(limit)s
"""


async def by_id(
    connection: Connection, tenant_id: TenantId, transaction_id: TransactionId
) -> TransactionRow | None:
    parameters = {"tenant_id": tenant_id, "transaction_id": transaction_id}
    return await fetch_one(connection, _BY_ID, parameters, TransactionRow)


async def by_tenant(
    connection: Connection,
    tenant_id: TenantId,
    *,
    device_id: DeviceId | None = None,
    user_id: UserId | None = None,
    product_key: str | None = None,
    state: TransactionState | None = None,
    outcome: Outcome | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    after: int | None = None,
    limit: int = 50,
) -> Page[TransactionRow]:
    """A tenant's transactions, newest first; `since` and `until` bound `received_at`."""
    parameters = {
        "tenant_id": tenant_id,
        "device_id": device_id,
        "user_id": user_id,
        "product_key": product_key,
        "state": state,
        "outcome": outcome,
        "since": since,
        "until": until,
        "after": after,
    }
    return await page(connection, _BY_TENANT, parameters, TransactionRow, limit=limit)
