"""Deliveries as whoever runs the platform sees them: where each kind stands, and once more."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, LiteralString

import msgspec

from application.ports import Replayed
from infrastructure.database import Pool
from infrastructure.delivery.progress import TenantWait, waits

REPLAYED_MAX: Final = 10_000

_STANDINGS: Final[LiteralString] = """
    SELECT p.kind, p.position, p.halted_at_position, p.halted_error, p.halted_at,
           p.tenants_waiting,
           (SELECT count(*) FROM deliveries d WHERE d.kind = p.kind AND d.state = 'pending'),
           (SELECT count(*) FROM deliveries d WHERE d.kind = p.kind AND d.state = 'dead'),
           (SELECT extract(epoch FROM now() - min(d.trying_since))::float8
            FROM deliveries d WHERE d.kind = p.kind AND d.state = 'pending')
    FROM delivery_positions p ORDER BY p.kind
"""
_REPLAY: Final[LiteralString] = """
    UPDATE deliveries
    SET state = 'pending', reason = NULL, trying_since = now(), tries = 0, due_at = now(),
        lease_until = NULL, finished_at = NULL
    WHERE state <> 'pending' AND id IN (
        SELECT id FROM deliveries
        WHERE kind = %(kind)s AND state <> 'pending'
          AND (%(event_id)s::uuid IS NULL OR event_id = %(event_id)s)
          AND (%(since)s::timestamptz IS NULL OR recorded_at >= %(since)s)
          AND (%(until)s::timestamptz IS NULL OR recorded_at < %(until)s)
          AND (NOT %(failed_only)s OR state = 'dead')
        ORDER BY position LIMIT %(most)s)
"""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a kind stands: how far the log was read for it, and what is still to be delivered.

    `halted_at` is since when it stands still before `halted_at_position`, for every tenant;
    `tenants_waiting` is for how many it stands still besides.
    `oldest_s` is the age of the oldest pending delivery, None when there is none.
    """

    kind: str
    position: int
    halted_at_position: int | None
    halted_error: str | None
    halted_at: datetime | None
    tenants_waiting: int
    pending: int
    dead: int
    oldest_s: float | None


async def standings(projector: Pool) -> Sequence[Standing]:
    """Every kind that there ever was, by name. `projector` is a pool of link_projector."""
    async with projector.connection() as connection:
        rows = await (await connection.execute(_STANDINGS)).fetchall()
    names = Standing.__struct_fields__
    return [Standing(**dict(zip(names, row, strict=True))) for row in rows]


async def all_waits(projector: Pool) -> Sequence[TenantWait]:
    """Every tenant that some kind stands still for, by kind and position."""
    async with projector.connection() as connection:
        return await waits(connection)


async def replay(projector: Pool, kind: str, which: Replayed) -> int:
    """Have deliveries of a kind tried again, of every tenant, and how many.

    At most 10,000, the oldest first. Those that are pending are tried as it is, and not counted.
    """
    given = {"kind": kind, "most": REPLAYED_MAX, **msgspec.structs.asdict(which)}
    async with projector.connection() as connection:
        return (await connection.execute(_REPLAY, given)).rowcount
