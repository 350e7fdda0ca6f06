"""The read side for those who ask: one tenant at a time, as fresh as they demand."""

from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from domain.errors import Unavailable
from domain.ids import TenantId
from infrastructure.database import Connection, Pool, tenant_scope
from infrastructure.event_log.positions import LAST_POSITION
from infrastructure.projections import halts
from projections import devices

WAIT_S: Final = 5.0


class Positions(Protocol):
    async def wait(self, min_position: int, name: str, timeout_s: float) -> bool: ...


class TenantReads:
    """Read models behind row-level security."""

    def __init__(self, pool: Pool, positions: Positions) -> None:
        self._pool = pool
        self._positions = positions

    def scope(self, tenant_id: TenantId) -> AbstractAsyncContextManager[Connection]:
        return tenant_scope(self._pool, tenant_id)

    async def wait(self, tenant_id: TenantId, name: str, position: int) -> bool:
        """Whether the rows of this tenant show everything up to the position; waits for them.

        A read model that stands still for the tenant does not, however far it is for others.
        """
        if not await self._positions.wait(position, name, WAIT_S):
            return False
        async with self.scope(tenant_id) as connection:
            return not await halts.is_missing(connection, name, tenant_id, position)


class BoundDevices:
    """How many devices depend on a product, counted when the read model has seen it all.

    A guard rail against removing a product under running tills, not an invariant: a device that
    is bound in the same instant is refused by the broker afterwards, and opens nothing.
    """

    def __init__(self, reads: TenantReads, projector: Pool) -> None:
        """`projector` is a pool of the role that may see the end of the whole log."""
        self._reads = reads
        self._projector = projector

    async def count(self, tenant_id: TenantId, product_key: str) -> int:
        async with self._projector.connection() as connection:
            found = await (await connection.execute(LAST_POSITION)).fetchone()
        end: int = found[0] if found is not None else 0
        if not await self._reads.wait(tenant_id, devices.READ_MODEL.name, end):
            raise Unavailable("position_not_reached", retry_after_s=1)
        async with self._reads.scope(tenant_id) as connection:
            return await devices.bound_to(connection, tenant_id, product_key)
