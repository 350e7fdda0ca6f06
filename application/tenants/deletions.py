"""Deleting a tenant: its people are erased, then its keys are destroyed, and the proofs stay.

Each person gets an erasure of their own, with its certificate and the removal of their templates at
the vendor. When nobody is left, the tenant's key goes, and with it whatever was sealed under it.
What happened is in the log for ever, and says nothing of anybody.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final, Protocol

from application.execute import execute
from application.people.erasures import Erasures
from application.ports import Clock, EventLog, IdSource
from application.principals import Caller
from domain import tenant as t
from domain.ids import TenantId, UserId

EVERY_S: Final = 5.0
TENANTS_AT_ONCE: Final = 10
PEOPLE_AT_ONCE: Final = 50
SETTLED_AFTER: Final = timedelta(minutes=1)
"""Since the deletion began: whoever was let in a moment before has long been answered."""


class LeavingTenants(Protocol):
    """Where to look; what is so is read from the log."""

    async def deleting(self, limit: int) -> Sequence[TenantId]: ...

    async def people(self, tenant_id: TenantId, limit: int) -> Sequence[UserId]:
        """People who are not erased yet, those first whose erasure was not asked for; empty only
        when the read model has seen all that the log holds now. Raises Unavailable
        (`position_not_reached`)."""
        ...


class TenantStores(Protocol):
    async def destroy(self, tenant_id: TenantId) -> None:
        """Destroy the tenant's keys and secrets, for good; again, it does nothing."""
        ...


class TenantDeletions:
    """`interrupted` is told of each tenant whose turn failed, and of what."""

    def __init__(
        self,
        log: EventLog,
        erasures: Erasures,
        leaving: LeavingTenants,
        stores: TenantStores,
        clock: Clock,
        ids: IdSource,
        interrupted: Callable[[TenantId, Exception], None],
    ) -> None:
        self._log = log
        self._erasures = erasures
        self._leaving = leaving
        self._stores = stores
        self._clock = clock
        self._ids = ids
        self._interrupted = interrupted

    async def round(self) -> int:
        """Go on with every deletion; how many are completed now. Safe to be done twice."""
        completed = 0
        for tenant_id in await self._leaving.deleting(TENANTS_AT_ONCE):
            try:
                completed += await self.advance(tenant_id)
            except Exception as error:
                self._interrupted(tenant_id, error)
        return completed

    async def advance(self, tenant_id: TenantId) -> bool:
        """Do what can be done now; whether that was the last of it."""
        past = await self._log.load(tenant_id, tenant_id)
        tenant = t.rebuild(past)
        if tenant is None or tenant.status != "deleting":
            return False
        worker = Caller(
            tenant_id=tenant_id, actor="system:tenant_deletion", correlation_id=self._ids.uuid()
        )
        left = await self._leaving.people(tenant_id, PEOPLE_AT_ONCE)
        for user_id in left:
            await self._erasures.request(worker, user_id)
        (began,) = [each for each in past if isinstance(each.event, t.TenantDeletionStarted)]
        if left or self._clock.now() - began.recorded_at < SETTLED_AFTER:
            return False
        await self._stores.destroy(tenant_id)
        await self._note(worker, t.note_data_destroyed)
        await self._note(worker, t.finish_deletion)
        return True

    async def _note(
        self, worker: Caller, decide: Callable[[t.Tenant], Sequence[t.TenantEvent]]
    ) -> None:
        def decided(state: t.Tenant | None) -> Sequence[t.TenantEvent]:
            assert state is not None, "it is being deleted"
            return decide(state)

        origin = worker.origin(self._ids.uuid())
        tenant_id = worker.tenant_id
        await execute(self._log, origin, tenant_id, tenant_id, t.rebuild, decided)
