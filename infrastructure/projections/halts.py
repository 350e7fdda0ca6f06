"""The tenants that a read model stands still for, while it goes on for everybody else.

A halt is written in the transaction that moves the position past the event, and ends in the one
that takes in the last of what was missed. The caller of every function here holds the read
model's row in `projection_positions`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, LiteralString

import msgspec

from domain.events import Recorded
from domain.ids import TenantId
from infrastructure.database import Connection

_HALTS: Final[LiteralString] = """
    SELECT name, tenant_id, position, event, error, halted_at, resuming
    FROM public.projection_halts
    WHERE %(name)s::text IS NULL OR name = %(name)s
    ORDER BY name, position, tenant_id
"""
_COUNT: Final = """
    UPDATE public.projection_positions
    SET tenants_halted = (SELECT count(*) FROM public.projection_halts WHERE name = %(name)s)
    WHERE name = %(name)s
"""
_BEGIN: Final = """
    INSERT INTO public.projection_halts (name, tenant_id, position, event, error)
    VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (name, tenant_id) DO UPDATE
    SET position = EXCLUDED.position, event = EXCLUDED.event, error = EXCLUDED.error,
        halted_at = now(), resuming = false
"""
_MOVE: Final = """
    UPDATE public.projection_halts SET position = %s WHERE name = %s AND tenant_id = %s
"""
_END: Final = "DELETE FROM public.projection_halts WHERE name = %s AND tenant_id = %s"
_RESUME: Final = """
    UPDATE public.projection_halts SET resuming = true
    WHERE name = %s AND (%s::uuid IS NULL OR tenant_id = %s) RETURNING tenant_id
"""
_REPLACE: Final = "DELETE FROM public.projection_halts WHERE name = %s"
_TAKE_OVER: Final = "UPDATE public.projection_halts SET name = %s WHERE name = %s"
_MISSING: Final = """
    SELECT EXISTS (SELECT FROM public.projection_halts
                   WHERE name = %s AND tenant_id = %s AND position <= %s)
"""


class TenantHalt(msgspec.Struct, frozen=True, kw_only=True):
    """Why a read model stands still for one tenant.

    `position` is the first of the tenant's events that is not in the rows. `error` names the
    exception's class and its place in our code. `resuming`: what was missed is being taken in.
    """

    name: str
    tenant_id: TenantId
    position: int
    event: str
    error: str
    halted_at: datetime
    resuming: bool


async def all_halts(connection: Connection) -> Sequence[TenantHalt]:
    cursor = await connection.execute(_HALTS, {"name": None})
    return [_halt(row) for row in await cursor.fetchall()]


async def halts_of(connection: Connection, name: str) -> Sequence[TenantHalt]:
    cursor = await connection.execute(_HALTS, {"name": name})
    return [_halt(row) for row in await cursor.fetchall()]


async def is_missing(connection: Connection, name: str, tenant_id: TenantId, position: int) -> bool:
    """Whether some event of the tenant up to `position` is not in the read model."""
    cursor = await connection.execute(_MISSING, (name, tenant_id, position))
    return await cursor.fetchone() == (True,)


async def begin(connection: Connection, name: str, recorded: Recorded, error: str) -> None:
    """Stand still for the tenant of this event, from this event on."""
    given = (name, recorded.tenant_id, recorded.position, recorded.event.NAME, error)
    await connection.execute(_BEGIN, given)
    await connection.execute(_COUNT, {"name": name})


async def move(connection: Connection, name: str, tenant_id: TenantId, position: int) -> None:
    """What stands before `position` has been taken in."""
    await connection.execute(_MOVE, (position, name, tenant_id))


async def end(connection: Connection, name: str, tenant_id: TenantId) -> None:
    """Nothing is missing any more."""
    await connection.execute(_END, (name, tenant_id))
    await connection.execute(_COUNT, {"name": name})


async def resume(
    connection: Connection, name: str, tenant_id: TenantId | None
) -> Sequence[TenantId]:
    """Ask for another try, for one tenant or for all that are halted; those that are."""
    cursor = await connection.execute(_RESUME, (name, tenant_id, tenant_id))
    return sorted(tenant for (tenant,) in await cursor.fetchall())


async def take_over(connection: Connection, rebuilt: str, name: str) -> None:
    """The halts of what was built anew take the place of the live one's."""
    await connection.execute(_REPLACE, (name,))
    await connection.execute(_TAKE_OVER, (name, rebuilt))
    await connection.execute(_COUNT, {"name": name})


def _halt(row: Sequence[Any]) -> TenantHalt:
    return TenantHalt(
        name=row[0],
        tenant_id=row[1],
        position=row[2],
        event=row[3],
        error=row[4],
        halted_at=row[5],
        resuming=row[6],
    )
