"""All tenants, for whoever runs the platform."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from domain.errors import Unavailable
from domain.ids import TenantId, UserId
from domain.tenant import TenantStatus
from infrastructure.database import Pool
from infrastructure.projections.reads import LogEnd, TenantReads
from projections import tenants, users
from projections.read_model import Connection, Page


class EveryTenant:
    """Over the read model, as the projector, who sees all of them. Raises psycopg.Error."""

    def __init__(self, pool: Pool, reads: TenantReads, end: LogEnd) -> None:
        self._pool = pool
        self._reads = reads
        self._end = end

    async def page(
        self, status: TenantStatus | None, after: int | None, limit: int
    ) -> Page[tenants.TenantRow]:
        async with self._pool.connection() as connection:
            return await tenants.every(connection, status=status, after=after, limit=limit)

    async def held(self, after: TenantId, limit: int) -> Sequence[TenantId]:
        async with self._pool.connection() as connection:
            return await tenants.held(connection, after, limit)

    async def deleting(self, after: TenantId, limit: int) -> Sequence[TenantId]:
        async with self._pool.connection() as connection:
            return await tenants.deleting(connection, after, limit)

    async def to_erase(self, tenant_id: TenantId, limit: int) -> Sequence[UserId]:
        async with self._newest(tenant_id) as connection:
            return await users.to_erase(connection, tenant_id, limit)

    async def anybody(self, tenant_id: TenantId) -> bool:
        async with self._newest(tenant_id) as connection:
            return await users.anybody(connection, tenant_id)

    @asynccontextmanager
    async def _newest(self, tenant_id: TenantId) -> AsyncGenerator[Connection]:
        """What the log holds now. Raises Unavailable (`position_not_reached`)."""
        end = await self._end.position()
        if not await self._reads.wait(tenant_id, users.READ_MODEL.name, end):
            raise Unavailable("position_not_reached", retry_after_s=1)
        async with self._reads.scope(tenant_id) as connection:
            yield connection
