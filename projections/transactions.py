"""Read model `transactions`: one row per transaction, from the palm to the gate."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, LiteralString, get_args

from domain.ids import DeviceId, TenantId, TransactionId, UserId
from domain.transaction import TransactionEvent
from projections.read_model import Connection, Page, ReadModel, fetch_one, page
from projections.stream_rows import StreamRows
from projections.transaction_row import Outcome, TransactionRow, TransactionState, reduce

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
        authorize_ms    float8,
        total_ms        float8,
        decided_at      timestamptz,
        relayed_at      timestamptz,
        lease_until     timestamptz,
        void            text        NOT NULL,
        advice          text        NOT NULL,
        shown           text,
        shown_at        timestamptz,
        journal_conflict boolean    NOT NULL
    );
    CREATE INDEX transactions_listing ON transactions (tenant_id, position);
    CREATE INDEX transactions_device ON transactions (tenant_id, device_id, position);
    CREATE INDEX transactions_user ON transactions (tenant_id, user_id, position);
    CREATE INDEX transactions_undecided ON transactions (lease_until)
        WHERE state = 'authorizing';
    CREATE INDEX transactions_void_due ON transactions (tenant_id, position)
        WHERE void IN ('owed', 'failed');
"""


READ_MODEL: Final = ReadModel(
    name="transactions",
    version=3,
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


_OVERDUE: Final[LiteralString] = """
    SELECT tenant_id, transaction_id FROM read_models.transactions
    WHERE state = 'authorizing' AND lease_until < %(before)s
    ORDER BY lease_until
    LIMIT %(limit)s
"""


async def overdue(
    connection: Connection, before: datetime, limit: int
) -> Sequence[tuple[TenantId, TransactionId]]:
    """Of all tenants, for whoever may see them: undecided, and nobody's since before then."""
    cursor = await connection.execute(_OVERDUE, {"before": before, "limit": limit})
    return [
        (TenantId(tenant_id), TransactionId(transaction_id))
        for tenant_id, transaction_id in await cursor.fetchall()
    ]


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
