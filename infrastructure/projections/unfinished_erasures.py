"""Where the workers look for erasures that are not completed."""

from collections.abc import Sequence

from domain.ids import TenantId, UserId
from infrastructure.database import Pool
from projections import erasures


class PostgresUnfinishedErasures:
    """`UnfinishedErasures` over the read model, as the projector, who sees all tenants.

    Each look goes on where the one before it ended, and begins anew after the last: erasures that
    wait for their vendor keep nobody else waiting.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._after = 0

    async def find(self, limit: int) -> Sequence[tuple[TenantId, UserId]]:
        async with self._pool.connection() as connection:
            found = await erasures.unfinished(connection, self._after, limit)
        self._after = found[-1][0] if len(found) == limit else 0
        return [(tenant_id, user_id) for _, tenant_id, user_id in found]
