"""Where the workers look for erasures that are not completed."""

from collections.abc import Sequence

from domain.ids import TenantId, UserId
from infrastructure.database import Pool
from projections import erasures


class PostgresUnfinishedErasures:
    """`UnfinishedErasures` over the read model, as the projector, who sees all tenants."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, limit: int) -> Sequence[tuple[TenantId, UserId]]:
        async with self._pool.connection() as connection:
            return await erasures.unfinished(connection, limit)
