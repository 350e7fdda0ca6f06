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
from domain.ids import PLATFORM, TenantId, UserId

EVERY_S: Final = 5.0
TENANTS_AT_ONCE: Final = 10
PEOPLE_AT_ONCE: Final = 50
SETTLED_AFTER: Final = timedelta(minutes=1)
"""Since the deletion began: whoever was let in a moment before has long been answered."""


class LeavingTenants(Protocol):
    """Where to look; what is so is read from the log."""

    async def deleting(self, after: TenantId, limit: int) -> Sequence[TenantId]:
        """Those whose deletion is not completed, in the order of their ids."""
        ...

    async def to_erase(self, tenant_id: TenantId, limit: int) -> Sequence[UserId]:
        """People whose erasure has not begun. Raises as `anybody`."""
        ...

    async def anybody(self, tenant_id: TenantId) -> bool:
        """Whether there is somebody who is not erased, by all that the log holds now. Raises
        Unavailable (`position_not_reached`)."""
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
        self._latest = PLATFORM

    async def round(self) -> int:
        """Go on with some deletions, each in its turn; how many are completed now.

        A vendor may keep one waiting for as long as it likes: that keeps no other waiting.
        """
        completed = 0
        found = await self._leaving.deleting(self._latest, TENANTS_AT_ONCE)
        self._latest = found[-1] if len(found) == TENANTS_AT_ONCE else PLATFORM
        for tenant_id in found:
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
        # Only those who were not asked for: what has begun goes on by itself, at the pace that the
        # vendor can bear (`ErasureRounds`).
        for user_id in await self._leaving.to_erase(tenant_id, PEOPLE_AT_ONCE):
            await self._erasures.request(worker, user_id)
        (began,) = [each for each in past if isinstance(each.event, t.TenantDeletionStarted)]
        if self._clock.now() - began.recorded_at < SETTLED_AFTER:
            return False
        if await self._leaving.anybody(tenant_id):
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
