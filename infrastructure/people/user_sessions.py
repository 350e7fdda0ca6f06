"""The lines of refresh tokens, one row for each session; the row's lock is the arbiter."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, LiteralString

import msgspec

from application.ports import Clock
from domain.ids import TenantId, UserId, UserSessionId
from domain.user_session import EndReason, Exchange, Line
from infrastructure.database import Connection, Pool, tenant_scope

_OPEN: Final[LiteralString] = """
    INSERT INTO user_sessions (tenant_id, id, user_id, method, installation, number, rotated_at,
        authenticated_at, created_at, idle_until, expires_at, key_thumbprint)
    VALUES (%(tenant_id)s, %(session_id)s, %(user_id)s, %(method)s, %(installation)s, %(number)s,
        %(rotated_at)s, %(authenticated_at)s, %(created_at)s, %(idle_until)s, %(expires_at)s,
        %(key_thumbprint)s)"""

_ONE_AT_A_TIME: Final[LiteralString] = (
    "SELECT pg_advisory_xact_lock(hashtextextended('user_sessions/' || %s::uuid, 0))"
)
_END_OLDEST: Final[LiteralString] = """
    UPDATE user_sessions SET ended_at = %(created_at)s, ended_by = 'session_limit_reached'
    WHERE tenant_id = %(tenant_id)s AND ended_at IS NULL AND id IN (
        SELECT id FROM user_sessions
        WHERE tenant_id = %(tenant_id)s AND user_id = %(user_id)s AND id <> %(session_id)s
          AND ended_at IS NULL AND least(idle_until, expires_at) > %(created_at)s
        ORDER BY created_at DESC, id DESC OFFSET %(others)s)
    RETURNING id"""

_FIND: Final[LiteralString] = """
    SELECT id, user_id, method, installation, number, rotated_at, authenticated_at, created_at,
           idle_until, expires_at, key_thumbprint, ended_at, ended_by, proved_by
    FROM user_sessions WHERE tenant_id = %s AND id = %s"""
_LOCKED: Final[LiteralString] = _FIND + " FOR UPDATE"

_KEEP: Final[LiteralString] = """
    UPDATE user_sessions
    SET number = %(number)s, rotated_at = %(rotated_at)s, authenticated_at = %(authenticated_at)s,
        idle_until = %(idle_until)s, ended_at = %(ended_at)s, ended_by = %(ended_by)s,
        proved_by = %(proved_by)s
    WHERE tenant_id = %(tenant_id)s AND id = %(session_id)s"""

_OF_USER: Final[LiteralString] = """
    SELECT id, user_id, method, installation, number, rotated_at, authenticated_at, created_at,
           idle_until, expires_at, key_thumbprint, ended_at, ended_by, proved_by
    FROM user_sessions
    WHERE tenant_id = %s AND user_id = %s AND ended_at IS NULL
      AND least(idle_until, expires_at) > %s
    ORDER BY created_at DESC, id DESC LIMIT 200"""

_FORGET: Final[LiteralString] = "DELETE FROM user_sessions WHERE tenant_id = %s AND user_id = %s"

_NAMES: Final = Line.__struct_fields__
"""In the order in which the columns are asked for."""


class PostgresSessionLines:
    """`SessionLines` over the table `user_sessions`."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def open(self, tenant_id: TenantId, line: Line, at_most: int) -> Sequence[UserSessionId]:
        values = {"tenant_id": tenant_id, **_columns(line), "others": at_most - 1}
        async with tenant_scope(self._pool, tenant_id) as connection:
            # A statement of its own: the next one must see what the one before us committed.
            await connection.execute(self._alone, (line.user_id,))
            await connection.execute(_OPEN, values)
            return await self._end_oldest(connection, values)

    async def find(self, tenant_id: TenantId, session_id: UserSessionId) -> Line | None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            return await self._one(connection, _FIND, tenant_id, session_id)

    async def exchange(
        self,
        tenant_id: TenantId,
        session_id: UserSessionId,
        decide: Callable[[Line], Exchange],
    ) -> Exchange | None:
        """Let one caller at a time decide on the line; None when there is no such session."""
        async with tenant_scope(self._pool, tenant_id) as connection:
            line = await self._one(connection, self._locking, tenant_id, session_id)
            if line is None:
                return None
            decided = decide(line)
            if decided.line != line:
                values = {"tenant_id": tenant_id, **_columns(decided.line)}
                await connection.execute(_KEEP, values)
            return decided

    async def of_user(self, tenant_id: TenantId, user_id: UserId) -> Sequence[Line]:
        async with tenant_scope(self._pool, tenant_id) as connection:
            found = await connection.execute(_OF_USER, (tenant_id, user_id, self._clock.now()))
            return [_line(row) for row in await found.fetchall()]

    async def end(
        self, tenant_id: TenantId, session_id: UserSessionId, reason: EndReason
    ) -> Line | None:
        """End a line, for good; the first reason stays."""
        now = self._clock.now()

        def ended(line: Line) -> Exchange:
            if line.ended_at is not None:
                return Exchange(outcome="refused", line=line)
            line = msgspec.structs.replace(line, ended_at=now, ended_by=reason)
            return Exchange(outcome="refused", line=line)

        decided = await self.exchange(tenant_id, session_id, ended)
        return None if decided is None else decided.line

    async def forget(self, tenant_id: TenantId, user_id: UserId) -> None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_FORGET, (tenant_id, user_id))

    _alone: LiteralString = _ONE_AT_A_TIME
    _locking: LiteralString = _LOCKED
    """A test takes each lock out, to see that it is what keeps a line one line, and lines few."""

    async def _end_oldest(
        self, connection: Connection, values: Mapping[str, object]
    ) -> Sequence[UserSessionId]:
        ended = await connection.execute(_END_OLDEST, values)
        return [UserSessionId(row[0]) for row in await ended.fetchall()]

    async def _one(
        self,
        connection: Connection,
        query: LiteralString,
        tenant_id: TenantId,
        session_id: UserSessionId,
    ) -> Line | None:
        row = await (await connection.execute(query, (tenant_id, session_id))).fetchone()
        return None if row is None else _line(row)


def _columns(line: Line) -> dict[str, object]:
    return {**msgspec.structs.asdict(line), "proved_by": list(line.proved_by)}


def _line(row: tuple[object, ...]) -> Line:
    return msgspec.convert(dict(zip(_NAMES, row, strict=True)), Line)
