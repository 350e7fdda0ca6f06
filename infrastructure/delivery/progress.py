"""How far the log was read for a kind, and for which tenants it stands still meanwhile.

Both change only in the transaction that writes what was owed, and only when they are as the
caller knows them: of two processes one writes, and the other begins anew. The end of a wait lies
behind the position, so that the position alone would not tell whether another process ended it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, LiteralString

import msgspec

from domain.ids import TenantId
from infrastructure.database import Connection

_BEGIN: Final = """
    INSERT INTO delivery_positions (kind, position) VALUES (%s, 0) ON CONFLICT DO NOTHING
"""
_POSITION: Final = """
    SELECT position, tenants_waiting FROM delivery_positions WHERE kind = %s FOR UPDATE
"""
_WAITS: Final[LiteralString] = """
    SELECT kind, tenant_id, position, event, error, waiting_since FROM delivery_waits
    WHERE %(kind)s::text IS NULL OR kind = %(kind)s ORDER BY kind, position, tenant_id
"""
_ADVANCE: Final = """
    UPDATE delivery_positions
    SET position = %(to)s, moved_at = now(), tenants_waiting = tenants_waiting + %(more)s,
        halted_at_position = NULL, halted_error = NULL, halted_at = NULL
    WHERE kind = %(kind)s AND position = %(position)s AND tenants_waiting = %(waiting)s
"""
_HOLD: Final = """
    UPDATE delivery_positions SET tenants_waiting = tenants_waiting + %(more)s
    WHERE kind = %(kind)s AND position = %(position)s AND tenants_waiting = %(waiting)s
"""
_HALT: Final = """
    UPDATE delivery_positions
    SET halted_at = CASE WHEN halted_at_position = %(at)s THEN halted_at ELSE now() END,
        halted_at_position = %(at)s, halted_error = %(why)s
    WHERE kind = %(kind)s AND position = %(stored)s
"""
_WAIT: Final = """
    INSERT INTO delivery_waits (kind, tenant_id, position, event, error)
    VALUES (%s, %s, %s, %s, %s)
"""
_MOVE: Final = """
    UPDATE delivery_waits
    SET waiting_since = CASE WHEN position = %(at)s THEN waiting_since ELSE now() END,
        position = %(at)s, event = %(event)s, error = %(error)s
    WHERE kind = %(kind)s AND tenant_id = %(tenant_id)s
"""
_END: Final = "DELETE FROM delivery_waits WHERE kind = %s AND tenant_id = %s"


class Overtaken(Exception):
    """Another process moved on: what it wrote is not for us to write again."""


class TenantWait(msgspec.Struct, frozen=True, kw_only=True):
    """Why a kind stands still for one tenant.

    `position` is the first of the tenant's events that was not judged. `error` names the
    exception's class and its place in our code.
    """

    kind: str
    tenant_id: TenantId
    position: int
    event: str
    error: str
    waiting_since: datetime | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What the events up to `position` owe is written, but for those of `waits` tenants."""

    kind: str
    position: int
    waits: int


async def begin(connection: Connection, kind: str) -> None:
    """A kind that is new stands before the first event."""
    await connection.execute(_BEGIN, (kind,))


async def read(connection: Connection, kind: str) -> tuple[Progress, Sequence[TenantWait]]:
    async with connection.transaction():
        found = await (await connection.execute(_POSITION, (kind,))).fetchone()
        assert found is not None, "whoever stands by has made the row"
        return Progress(kind=kind, position=found[0], waits=found[1]), await waits(connection, kind)


async def waits(connection: Connection, kind: str | None = None) -> Sequence[TenantWait]:
    """Every wait of a kind, or of all."""
    rows = await (await connection.execute(_WAITS, {"kind": kind})).fetchall()
    names = TenantWait.__struct_fields__
    return [TenantWait(**dict(zip(names, row, strict=True))) for row in rows]


async def advance(
    connection: Connection, before: Progress, position: int, wait: TenantWait | None = None
) -> Progress:
    """Move on, in the caller's transaction, and stand still for one more tenant.

    Raises Overtaken.
    """
    await _fenced(connection, _ADVANCE, before, to=position, more=0 if wait is None else 1)
    if wait is not None:
        given = (wait.kind, wait.tenant_id, wait.position, wait.event, wait.error)
        await connection.execute(_WAIT, given)
    return Progress(
        kind=before.kind, position=position, waits=before.waits + (0 if wait is None else 1)
    )


async def move(connection: Connection, before: Progress, wait: TenantWait) -> Progress:
    """The tenant's events before `wait.position` are judged. Raises Overtaken."""
    await _fenced(connection, _HOLD, before, more=0)
    given = {"at": wait.position, **msgspec.structs.asdict(wait)}
    await connection.execute(_MOVE, given)
    return before


async def end(connection: Connection, before: Progress, tenant_id: TenantId) -> Progress:
    """All of the tenant's events up to the position are judged. Raises Overtaken."""
    await _fenced(connection, _HOLD, before, more=-1)
    await connection.execute(_END, (before.kind, tenant_id))
    return msgspec.structs.replace(before, waits=before.waits - 1)


async def halt(connection: Connection, before: Progress, position: int, why: str) -> None:
    """Say in the open that the kind stands still before `position`, for every tenant."""
    given = {"at": position, "why": why, "kind": before.kind, "stored": before.position}
    await connection.execute(_HALT, given)


async def _fenced(
    connection: Connection, statement: LiteralString, before: Progress, **given: Any
) -> None:
    known = {"kind": before.kind, "position": before.position, "waiting": before.waits}
    if (await connection.execute(statement, known | given)).rowcount != 1:
        raise Overtaken(before.kind)
