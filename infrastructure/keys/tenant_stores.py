"""The end of what is held for a tenant."""

from domain.ids import TenantId
from infrastructure.database import Pool


class PostgresTenantStores:
    """`TenantStores`. The database destroys nothing of a tenant whose log does not say that it is
    being deleted. Raises psycopg.Error."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def destroy(self, tenant_id: TenantId) -> None:
        async with self._pool.connection() as connection:
            await connection.execute("SELECT destroy_tenant(%s)", (tenant_id,))
