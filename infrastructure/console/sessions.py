"""Sessions of console people, one row while they are open."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, LiteralString

import msgspec

from domain.ids import OperatorId, OperatorSessionId, TenantId
from domain.operator_session import OpenSession
from infrastructure.database import Pool, tenant_scope

_OPEN: Final[LiteralString] = """
    INSERT INTO console_sessions
        (tenant_id, id, operator_id, method, started_at, seen_at, expires_at)
    VALUES (%(tenant_id)s, %(session_id)s, %(operator_id)s, %(method)s, %(started_at)s,
        %(seen_at)s, %(expires_at)s)"""
_COLUMNS: Final[LiteralString] = """
    SELECT id, operator_id, method, started_at, seen_at, expires_at FROM console_sessions"""
_FIND: Final[LiteralString] = _COLUMNS + " WHERE tenant_id = %s AND id = %s"
_OF_OPERATOR: Final[LiteralString] = (
    _COLUMNS + " WHERE tenant_id = %s AND operator_id = %s ORDER BY started_at DESC, id DESC"
)
_SEEN: Final[LiteralString] = """
    UPDATE console_sessions SET seen_at = greatest(seen_at, %s) WHERE tenant_id = %s AND id = %s"""
_END: Final[LiteralString] = "DELETE FROM console_sessions WHERE tenant_id = %s AND id = %s"
_EXPIRED: Final[LiteralString] = """
    DELETE FROM console_sessions WHERE tenant_id = %s AND operator_id = %s AND expires_at <= %s"""


class PostgresConsoleSessions:
    """`ConsoleSessions` over the table `console_sessions`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def open(self, tenant_id: TenantId, session: OpenSession) -> None:
        values = {"tenant_id": tenant_id, **msgspec.structs.asdict(session)}
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_OPEN, values)

    async def find(self, tenant_id: TenantId, session_id: OperatorSessionId) -> OpenSession | None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            row = await (await connection.execute(_FIND, (tenant_id, session_id))).fetchone()
        return None if row is None else _session(row)

    async def seen(self, tenant_id: TenantId, session_id: OperatorSessionId, at: datetime) -> None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_SEEN, (at, tenant_id, session_id))

    async def of_operator(
        self, tenant_id: TenantId, operator_id: OperatorId
    ) -> Sequence[OpenSession]:
        async with tenant_scope(self._pool, tenant_id) as connection:
            found = await connection.execute(_OF_OPERATOR, (tenant_id, operator_id))
            return [_session(row) for row in await found.fetchall()]

    async def end(self, tenant_id: TenantId, session_id: OperatorSessionId) -> None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_END, (tenant_id, session_id))

    async def forget_expired(
        self, tenant_id: TenantId, operator_id: OperatorId, now: datetime
    ) -> None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_EXPIRED, (tenant_id, operator_id, now))


def _session(row: tuple[object, ...]) -> OpenSession:
    return msgspec.convert(dict(zip(OpenSession.__struct_fields__, row, strict=True)), OpenSession)
