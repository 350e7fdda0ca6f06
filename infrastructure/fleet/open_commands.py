"""Open commands, as the read model `device_commands` knows them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from application.ports.fleet import Waiting
from domain.ids import DeviceCommandId, DeviceId, TenantId
from infrastructure.database import Pool, tenant_scope
from projections import device_commands

SHOWN_MAX: Final = 100


class ReadModelOpenCommands:
    """`application.ports.fleet.OpenCommands`; `projector` is a pool that sees all tenants."""

    def __init__(self, pool: Pool, projector: Pool) -> None:
        self._pool = pool
        self._projector = projector

    async def of(self, tenant_id: TenantId, device_id: DeviceId) -> Sequence[DeviceCommandId]:
        async with tenant_scope(self._pool, tenant_id) as connection:
            return await device_commands.waiting(connection, tenant_id, device_id, SHOWN_MAX)

    async def overdue(self, before: datetime, limit: int) -> Sequence[Waiting]:
        async with self._projector.connection() as connection:
            found = await device_commands.overdue(connection, before, limit)
        return [Waiting(tenant_id=tenant, command_id=command) for tenant, command in found]
