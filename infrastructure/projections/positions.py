"""How far each read model has come: one row each, moved in the transaction of its rows.

While a read model is built anew beside the live one it has a second row, `<name> (rebuild)`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, LiteralString

import msgspec

from infrastructure.database import Connection

_ALL: Final = """
    SELECT name, version, ddl_sha256, position,
           halted_at_position, halted_event, halted_error, halted_at, tenants_halted
    FROM public.projection_positions ORDER BY name
"""
_ONE: Final = """
    SELECT name, version, ddl_sha256, position,
           halted_at_position, halted_event, halted_error, halted_at, tenants_halted
    FROM public.projection_positions WHERE name = %s
"""
_ONE_LOCKED: Final[LiteralString] = _ONE + " FOR UPDATE"
_BEGIN: Final = """
    INSERT INTO public.projection_positions (name, version, ddl_sha256, position)
    VALUES (%s, %s, %s, 0)
"""
_ADVANCE: Final = """
    UPDATE public.projection_positions
    SET position = %s, moved_at = now(),
        halted_at_position = NULL, halted_event = NULL, halted_error = NULL, halted_at = NULL
    WHERE name = %s AND version = %s AND position = %s
    RETURNING tenants_halted
"""
_HALT: Final = """
    UPDATE public.projection_positions
    SET halted_at_position = %s, halted_event = %s, halted_error = %s, halted_at = now()
    WHERE name = %s AND position = %s
"""
_RESUME: Final = """
    UPDATE public.projection_positions
    SET halted_at_position = NULL, halted_event = NULL, halted_error = NULL, halted_at = NULL
    WHERE name = %s AND halted_at IS NOT NULL
"""
_REPLACE: Final = """
    UPDATE public.projection_positions
    SET version = %s, ddl_sha256 = %s, position = %s, moved_at = now(),
        halted_at_position = NULL, halted_event = NULL, halted_error = NULL, halted_at = NULL
    WHERE name = %s
"""
_END: Final = "DELETE FROM public.projection_positions WHERE name = %s"


class Halt(msgspec.Struct, frozen=True, kw_only=True):
    """Why a read model stands still for everybody: it could not get past `position`.

    `error` names the exception's class and the place in our code, and never what the exception
    says: that may quote the event or a row.
    """

    position: int
    event: str | None
    error: str


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a read model stands. Everything up to `position` is in its rows, but for what
    `tenants_halted` tenants miss (`infrastructure/projections/halts.py`)."""

    name: str
    version: int
    ddl_sha256: str
    position: int
    tenants_halted: int = 0
    halt: Halt | None = None
    halted_at: datetime | None = None


def rebuild_name(name: str) -> str:
    return f"{name} (rebuild)"


async def all_standings(connection: Connection) -> Sequence[Standing]:
    cursor = await connection.execute(_ALL)
    return [_standing(row) for row in await cursor.fetchall()]


async def standing(connection: Connection, name: str, *, locked: bool = False) -> Standing | None:
    """None for a read model that was never made. `locked`: nobody moves it before we commit."""
    cursor = await connection.execute(_ONE_LOCKED if locked else _ONE, (name,))
    row = await cursor.fetchone()
    return None if row is None else _standing(row)


async def begin(connection: Connection, name: str, version: int, ddl_sha256: str) -> None:
    """A new read model stands before the first event."""
    await connection.execute(_BEGIN, (name, version, ddl_sha256))


async def advance(connection: Connection, before: Standing, position: int) -> int | None:
    """Move from `before` to `position`; for how many tenants it stands still.

    None when it stands elsewhere by now: touch nothing.
    """
    cursor = await connection.execute(
        _ADVANCE, (position, before.name, before.version, before.position)
    )
    found = await cursor.fetchone()
    return None if found is None else found[0]


async def halt(connection: Connection, before: Standing, why: Halt) -> None:
    """Say in the open that the read model stands still, unless somebody moved it meanwhile."""
    await connection.execute(
        _HALT, (why.position, why.event, why.error, before.name, before.position)
    )


async def resume(connection: Connection, name: str) -> bool:
    """Let a halted read model try again. False when it was not halted."""
    cursor = await connection.execute(_RESUME, (name,))
    return cursor.rowcount == 1


async def replace(
    connection: Connection, name: str, version: int, ddl_sha256: str, position: int
) -> None:
    """What a rebuild made takes the live one's place, halted or not."""
    await connection.execute(_REPLACE, (version, ddl_sha256, position, name))


async def end(connection: Connection, name: str) -> None:
    await connection.execute(_END, (name,))


def _standing(row: Sequence[Any]) -> Standing:
    halted_at: datetime | None = row[7]
    return Standing(
        name=row[0],
        version=row[1],
        ddl_sha256=row[2],
        position=row[3],
        tenants_halted=row[8],
        halt=None if halted_at is None else Halt(position=row[4], event=row[5], error=row[6]),
        halted_at=halted_at,
    )
