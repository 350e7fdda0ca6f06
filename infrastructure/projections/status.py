"""Where each read model stands, for the command line, health and metrics."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from infrastructure.database import Connection
from infrastructure.projections import halts, positions
from infrastructure.projections.halts import TenantHalt
from infrastructure.projections.positions import Halt

# The age of the oldest event that is not in the rows, for everybody's rows and for each tenant's.
_END: Final = "SELECT coalesce(max(position), 0), now() FROM public.events"
_RECORDED_AT: Final = """
    SELECT position, recorded_at FROM public.events WHERE position = ANY(%s)
"""


class ProjectionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where a read model stands.

    `lag` counts positions to the end of the log, `lag_s` is the age in seconds of the first event
    that is not taken in; 0 when there is none. `halt` stops it for everybody, `tenants_halted`
    for some: those do not count for the lag.
    """

    name: str
    version: int
    position: int
    lag: int
    lag_s: float
    halt: Halt | None
    halted_at: datetime | None
    tenants_halted: Sequence[TenantHalt]


async def status(connection: Connection) -> Sequence[ProjectionStatus]:
    """Every read model that there is or is being rebuilt, whoever runs it.

    `connection` acts as link_projector, which sees the whole log.
    """
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        standings = await positions.all_standings(connection)
        halted = await halts.all_halts(connection)
        found = await (await connection.execute(_END)).fetchone()
        assert found is not None, "an aggregate without GROUP BY answers with one row"
        end, now = found
        cursor = await connection.execute(
            _RECORDED_AT, ([standing.position + 1 for standing in standings],)
        )
        waiting_since: dict[int, datetime] = dict(await cursor.fetchall())
    return [
        ProjectionStatus(
            name=standing.name,
            version=standing.version,
            position=standing.position,
            lag=end - standing.position,
            lag_s=round((now - waiting_since.get(standing.position + 1, now)).total_seconds(), 3),
            halt=standing.halt,
            halted_at=standing.halted_at,
            tenants_halted=[halt for halt in halted if halt.name == standing.name],
        )
        for standing in standings
    ]
