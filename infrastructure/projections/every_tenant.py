"""All tenants, for whoever runs the platform."""

from collections.abc import Sequence

from domain.ids import TenantId
from domain.tenant import TenantStatus
from infrastructure.database import Pool
from projections import tenants
from projections.read_model import Page


class EveryTenant:
    """Over the read model, as the projector, who sees all of them. Raises psycopg.Error."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def page(
        self, status: TenantStatus | None, after: int | None, limit: int
    ) -> Page[tenants.TenantRow]:
        async with self._pool.connection() as connection:
            return await tenants.every(connection, status=status, after=after, limit=limit)

    async def deleting(self, limit: int) -> Sequence[TenantId]:
        async with self._pool.connection() as connection:
            return await tenants.deleting(connection, limit)
