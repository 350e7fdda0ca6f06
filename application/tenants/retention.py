"""How long each tenant has things kept, for the sweep that deletes them.

Read from the log at each sweep: a change of the settings counts from the next one, in every worker.
"""

from collections.abc import Sequence
from typing import Protocol

from application.ports import EventLog
from domain import tenant as t
from domain.ids import TenantId
from domain.tenant_settings import RetentionPolicy, retention_policy


class HeldTenants(Protocol):
    async def held(self, after: TenantId, limit: int) -> Sequence[TenantId]:
        """Those of whom anything may be left, in the order of their ids."""
        ...


class TenantRetention:
    def __init__(self, log: EventLog, tenants: HeldTenants) -> None:
        self._log = log
        self._tenants = tenants

    async def held(self, after: TenantId, limit: int) -> Sequence[TenantId]:
        """Those of whom anything may be left, in the order of their ids."""
        return await self._tenants.held(after, limit)

    async def of(self, tenant_id: TenantId) -> RetentionPolicy | None:
        """What is in force; None when there is no such tenant."""
        tenant = t.rebuild(await self._log.load(tenant_id, tenant_id))
        return None if tenant is None else retention_policy(tenant.settings)
