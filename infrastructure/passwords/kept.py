"""Hashes of passwords, one row for each person who has one."""

from typing import Final, LiteralString

from domain.ids import TenantId, UserId
from infrastructure.database import Pool, tenant_scope

_SET: Final[LiteralString] = """
    INSERT INTO user_passwords (tenant_id, user_id, hashed) VALUES (%s, %s, %s)
    ON CONFLICT (tenant_id, user_id) DO UPDATE SET hashed = excluded.hashed, set_at = now()"""
_FIND: Final[LiteralString] = (
    "SELECT hashed FROM user_passwords WHERE tenant_id = %s AND user_id = %s"
)
_FORGET: Final[LiteralString] = "DELETE FROM user_passwords WHERE tenant_id = %s AND user_id = %s"


class PostgresPasswords:
    """`Passwords` over the table `user_passwords`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def set(self, tenant_id: TenantId, user_id: UserId, hashed: str) -> None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_SET, (tenant_id, user_id, hashed))

    async def find(self, tenant_id: TenantId, user_id: UserId) -> str | None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            row = await (await connection.execute(_FIND, (tenant_id, user_id))).fetchone()
        return None if row is None else str(row[0])

    async def forget(self, tenant_id: TenantId, user_id: UserId) -> None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_FORGET, (tenant_id, user_id))
