"""Deliveries as their tenant sees them: what is pending, what failed, and once more, please."""

from collections.abc import Sequence
from typing import Any, Final, Literal, LiteralString
from uuid import UUID

import msgspec

from application.ports import DeliveryRecord, DeliveryTry, EventRef, Replayed
from domain.ids import TenantId
from infrastructure.database import Connection, Pool, tenant_scope

REPLAYED_MAX: Final = 10_000
TRIES_SHOWN: Final = 20

_COLUMNS: Final[LiteralString] = """
    SELECT id, kind, destination, event_id, event, stream_id, stream_version, position,
           recorded_at, state, reason, attempts, owed_at, due_at, finished_at
    FROM deliveries
"""
_ABOUT: Final[LiteralString] = (
    _COLUMNS
    + """
    WHERE tenant_id = %(tenant_id)s AND stream_id = %(stream_id)s
    ORDER BY position, kind, destination LIMIT 200
"""
)
_AT: Final[LiteralString] = (
    _COLUMNS
    + """
    WHERE tenant_id = %(tenant_id)s AND kind = %(kind)s AND destination = %(destination)s
      AND (%(before)s::bigint IS NULL OR position < %(before)s)
      AND (%(state)s::text IS NULL OR state = %(state)s)
    ORDER BY position DESC LIMIT %(limit)s
"""
)
_TRIES: Final[LiteralString] = """
    SELECT a.delivery_id, a.attempt, a.started_at, a.finished_at, a.outcome, a.reason, a.status
    FROM unnest(%(ids)s::uuid[]) AS d (id)
    CROSS JOIN LATERAL (
        SELECT * FROM delivery_attempts t
        WHERE t.delivery_id = d.id AND t.tenant_id = %(tenant_id)s
        ORDER BY t.attempt DESC LIMIT %(shown)s
    ) AS a
    ORDER BY a.delivery_id, a.attempt
"""
_REPLAY: Final[LiteralString] = """
    UPDATE deliveries
    SET state = 'pending', reason = NULL, trying_since = now(), tries = 0, due_at = now(),
        lease_until = NULL, finished_at = NULL
    WHERE tenant_id = %(tenant_id)s AND state <> 'pending' AND id IN (
        SELECT id FROM deliveries
        WHERE tenant_id = %(tenant_id)s AND kind = %(kind)s AND destination = %(destination)s
          AND state <> 'pending'
          AND (%(event_id)s::uuid IS NULL OR event_id = %(event_id)s)
          AND (%(since)s::timestamptz IS NULL OR recorded_at >= %(since)s)
          AND (%(until)s::timestamptz IS NULL OR recorded_at < %(until)s)
          AND (NOT %(failed_only)s OR state = 'dead')
        ORDER BY position LIMIT %(most)s)
"""


class PostgresDeliveryRecords:
    """`DeliveryRecords` over the outbox, behind row-level security. Raises psycopg.Error."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def about(self, tenant_id: TenantId, stream_id: UUID) -> Sequence[DeliveryRecord]:
        """At most 200; a stream owes few."""
        given = {"tenant_id": tenant_id, "stream_id": stream_id}
        async with tenant_scope(self._pool, tenant_id) as connection:
            return await _records(connection, _ABOUT, given)

    async def at(
        self,
        tenant_id: TenantId,
        kind: str,
        destination: UUID,
        *,
        state: Literal["pending", "delivered", "dead"] | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> Sequence[DeliveryRecord]:
        given = {
            "tenant_id": tenant_id,
            "kind": kind,
            "destination": destination,
            "state": state,
            "before": before,
            "limit": limit,
        }
        async with tenant_scope(self._pool, tenant_id) as connection:
            return await _records(connection, _AT, given)

    async def replay(
        self, tenant_id: TenantId, kind: str, destination: UUID, which: Replayed
    ) -> int:
        """At most 10,000, the oldest first; a caller who is told so many asks again."""
        given = {
            "tenant_id": tenant_id,
            "kind": kind,
            "destination": destination,
            "most": REPLAYED_MAX,
            **msgspec.structs.asdict(which),
        }
        async with tenant_scope(self._pool, tenant_id) as connection:
            return (await connection.execute(_REPLAY, given)).rowcount


async def _records(
    connection: Connection, query: LiteralString, given: dict[str, Any]
) -> Sequence[DeliveryRecord]:
    rows = await (await connection.execute(query, given)).fetchall()
    asked = {
        "ids": [row[0] for row in rows],
        "tenant_id": given["tenant_id"],
        "shown": TRIES_SHOWN,
    }
    tries: dict[UUID, list[DeliveryTry]] = {}
    for row in await (await connection.execute(_TRIES, asked)).fetchall():
        found = DeliveryTry(
            attempt=row[1],
            started_at=row[2],
            finished_at=row[3],
            outcome=row[4],
            reason=row[5],
            status=row[6],
        )
        tries.setdefault(row[0], []).append(found)
    return [_record(row, tries.get(row[0], ())) for row in rows]


def _record(row: Sequence[Any], tries: Sequence[DeliveryTry]) -> DeliveryRecord:
    return DeliveryRecord(
        id=row[0],
        kind=row[1],
        destination=row[2],
        event=EventRef(
            id=row[3],
            name=row[4],
            stream_id=row[5],
            stream_version=row[6],
            position=row[7],
            recorded_at=row[8],
        ),
        state=row[9],
        reason=row[10],
        attempts=row[11],
        owed_at=row[12],
        due_at=row[13],
        finished_at=row[14],
        tries=tries,
    )
