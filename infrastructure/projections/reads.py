"""The read side for those who ask: one tenant at a time, as fresh as they demand."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from domain.errors import Unavailable
from domain.ids import DeviceId, TenantId
from infrastructure.database import Connection, Pool, tenant_scope
from infrastructure.event_log.positions import LAST_POSITION
from infrastructure.projections import halts
from projections import devices, oauth_clients, webhook_endpoints

WAIT_S: Final = 5.0
FOREVER: Final = 2**62
"""A position that no event has."""


class Positions(Protocol):
    async def wait(self, min_position: int, name: str, timeout_s: float) -> bool: ...


class Follower(Protocol):
    """What is asked of the log's tail."""

    @property
    def position(self) -> int: ...


class LogEnd:
    """Where the log ends; asked of the database only for a position that the tail has not seen."""

    def __init__(self, tail: Follower, projector: Pool) -> None:
        """`projector` is a pool of the role that may see the end of the whole log."""
        self._tail = tail
        self._projector = projector

    async def is_before(self, position: int) -> bool:
        """Whether nobody was ever given this position."""
        return position > self._tail.position and position > await self.position()

    async def position(self) -> int:
        """The last position. Raises psycopg.Error."""
        async with self._projector.connection() as connection:
            found = await (await connection.execute(LAST_POSITION)).fetchone()
        return found[0] if found is not None else 0


class TenantReads:
    """Read models behind row-level security."""

    def __init__(self, pool: Pool, positions: Positions, end: LogEnd) -> None:
        self._pool = pool
        self.positions = positions
        self._end = end

    def scope(self, tenant_id: TenantId) -> AbstractAsyncContextManager[Connection]:
        return tenant_scope(self._pool, tenant_id)

    async def wait(self, tenant_id: TenantId, name: str, position: int) -> bool:
        """Whether the rows of this tenant show everything up to the position, waiting up to 5 s.

        A read model that stands still for the tenant does not, however far it is for others. A
        position that nobody was given is not waited for.
        """
        if await self._end.is_before(position):
            return False
        if not await self.positions.wait(position, name, WAIT_S):
            return False
        async with self.scope(tenant_id) as connection:
            return not await halts.is_missing(connection, name, tenant_id, position)

    async def stands_still(self, tenant_id: TenantId, name: str) -> bool:
        """Whether the read model stands still for this tenant, and will until it is resumed."""
        async with self.scope(tenant_id) as connection:
            return await halts.is_missing(connection, name, tenant_id, FOREVER)


class BoundDevices:
    """How many devices depend on a product, counted when the read model has seen it all.

    A guard rail against removing a product under running tills, not an invariant: a device that
    is bound in the same instant is refused by the broker afterwards, and opens nothing.
    """

    def __init__(self, reads: TenantReads, end: LogEnd) -> None:
        self._reads = reads
        self._end = end

    async def count(self, tenant_id: TenantId, product_key: str) -> int:
        end = await self._end.position()
        if not await self._reads.wait(tenant_id, devices.READ_MODEL.name, end):
            raise Unavailable("position_not_reached", retry_after_s=1)
        async with self._reads.scope(tenant_id) as connection:
            return await devices.bound_to(connection, tenant_id, product_key)


class BatchSlots:
    """`application.fleet.batches.Waiting`, asked when the read model has seen it all."""

    def __init__(self, reads: TenantReads, end: LogEnd) -> None:
        self._reads = reads
        self._end = end

    async def slots(self, tenant_id: TenantId, batch: str) -> Sequence[DeviceId] | None:
        end = await self._end.position()
        if not await self._reads.wait(tenant_id, devices.READ_MODEL.name, end):
            raise Unavailable("position_not_reached", retry_after_s=1)
        async with self._reads.scope(tenant_id) as connection:
            rows = await devices.of_batch(connection, tenant_id, batch)
        waiting = [row.device_id for row in rows if row.status == "pending_pairing"]
        return waiting if rows else None


class RegisteredEndpoints:
    """How many webhook endpoints a tenant has, counted when the read model has seen it all."""

    def __init__(self, reads: TenantReads, end: LogEnd) -> None:
        self._reads = reads
        self._end = end

    async def count(self, tenant_id: TenantId) -> int:
        end = await self._end.position()
        if not await self._reads.wait(tenant_id, webhook_endpoints.READ_MODEL.name, end):
            raise Unavailable("position_not_reached", retry_after_s=1)
        async with self._reads.scope(tenant_id) as connection:
            return await webhook_endpoints.count(connection, tenant_id)


class RegisteredClients:
    """How many OAuth clients a tenant has, counted when the read model has seen it all."""

    def __init__(self, reads: TenantReads, end: LogEnd) -> None:
        self._reads = reads
        self._end = end

    async def count(self, tenant_id: TenantId) -> int:
        end = await self._end.position()
        if not await self._reads.wait(tenant_id, oauth_clients.READ_MODEL.name, end):
            raise Unavailable("position_not_reached", retry_after_s=1)
        async with self._reads.scope(tenant_id) as connection:
            return await oauth_clients.count(connection, tenant_id)
