"""Who may put a palm under which user, at which device, until when (design §2 row 6)."""

from datetime import datetime
from typing import Final, LiteralString

from domain.ids import DeviceId, TenantId, UserId
from infrastructure.database import Pool, tenant_scope

_OPEN: Final[LiteralString] = """
    INSERT INTO enrollment_grants (tenant_id, device_id, user_id, expires_at)
    VALUES (%s, %s, %s, %s)
    ON CONFLICT (tenant_id, device_id, user_id) DO UPDATE
    SET expires_at = GREATEST(enrollment_grants.expires_at, excluded.expires_at)"""

_IS_OPEN: Final[LiteralString] = """
    SELECT EXISTS (
        SELECT FROM enrollment_grants
        WHERE tenant_id = %s AND device_id = %s AND user_id = %s AND expires_at > %s)"""

_CLOSE: Final[LiteralString] = """
    DELETE FROM enrollment_grants WHERE tenant_id = %s AND user_id = %s"""


class PostgresEnrollmentGrants:
    """`EnrollmentGrants`: one row per device and user, which a new sign-in extends."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def open(
        self, tenant_id: TenantId, device_id: DeviceId, user_id: UserId, expires_at: datetime
    ) -> None:
        """Grant until `expires_at`. An earlier end never shortens a grant that is open."""
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_OPEN, (tenant_id, device_id, user_id, expires_at))

    async def is_open(
        self, tenant_id: TenantId, device_id: DeviceId, user_id: UserId, now: datetime
    ) -> bool:
        """Whether exactly this device holds a grant for exactly this user that has not run out."""
        async with tenant_scope(self._pool, tenant_id) as connection:
            found = await connection.execute(_IS_OPEN, (tenant_id, device_id, user_id, now))
            row = await found.fetchone()
        return row is not None and bool(row[0])

    async def close(self, tenant_id: TenantId, user_id: UserId) -> None:
        """Take back every grant for this user, at whatever device."""
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_CLOSE, (tenant_id, user_id))
