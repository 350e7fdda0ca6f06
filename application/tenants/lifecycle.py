"""A tenant's life in the hands of whoever runs the platform: created, suspended, resumed, deleted.

Every process obeys a suspension as soon as it hears of it: whoever asks for the tenant (device,
backend, person, webhook) is looked up with it, and a looked-up tenant is at most a second old.
"""

from collections.abc import Callable, Sequence
from uuid import UUID, uuid5

from application.execute import Done, execute, stream_of
from application.ports import EventLog, IdSource
from application.principals import Caller
from application.tenants.approvals import Approvals
from application.tenants.tenants import TENANT_KEY_SYMBOLS
from domain import tenant as t
from domain.approval import Approval
from domain.errors import Invalid, NotFound, PreconditionFailed
from domain.events import StreamAppend
from domain.ids import TenantId

_tenant = stream_of(t.TenantCreated, t.rebuild)


class TenantLifecycle:
    """Every caller is the platform's. Raises NotFound (`tenant_not_found`), for ids of other things
    too, and PreconditionFailed (`version_mismatch`)."""

    def __init__(self, log: EventLog, approvals: Approvals, ids: IdSource) -> None:
        self._log = log
        self._approvals = approvals
        self._ids = ids

    async def create(
        self, caller: Caller, name: str, *, sandbox: bool, key: str | None
    ) -> tuple[t.Tenant, Done]:
        """The same key again is the same tenant.

        Raises Invalid (`tenant_name_invalid`, `idempotency_key_reused`).
        """
        command_id = caller.command("tenant.create", key, self._ids.uuid())
        tenant_id = TenantId(uuid5(command_id, "tenant") if key is not None else self._ids.uuid())
        tenant_key = self._ids.code(TENANT_KEY_SYMBOLS, 20)

        def decide(state: t.Tenant | None) -> Sequence[t.TenantEvent]:
            if state is not None and (state.name, state.sandbox) != (name.strip(), sandbox):
                raise Invalid("idempotency_key_reused", "another request had this key")
            return t.create(state, name=name, tenant_key=tenant_key, sandbox=sandbox)

        origin = caller.origin(command_id)
        done = await execute(self._log, origin, tenant_id, tenant_id, t.rebuild, decide)
        return await self.get(tenant_id), done

    async def get(self, tenant_id: UUID) -> t.Tenant:
        return _present(_tenant(await self._log.load(TenantId(tenant_id), tenant_id)))

    async def suspend(
        self,
        caller: Caller,
        tenant_id: UUID,
        if_version: int | None,
        reason: t.SuspensionReason,
    ) -> tuple[t.Tenant, Done]:
        """Serve nobody of the tenant from now on. Raises Conflict (`tenant_deleted`)."""
        return await self._decided(
            caller, tenant_id, if_version, lambda tenant: t.suspend(tenant, reason)
        )

    async def resume(
        self, caller: Caller, tenant_id: UUID, if_version: int | None
    ) -> tuple[t.Tenant, Done]:
        """Raises Conflict (`tenant_deleted`)."""
        return await self._decided(caller, tenant_id, if_version, t.resume)

    async def delete(self, caller: Caller, tenant_id: UUID) -> tuple[t.Tenant, Done]:
        """Begin to destroy all that is held for a suspended tenant; again, it says how far that is.

        Two people, whoever asks, of whom the first asked after the present suspension had begun, so
        that the tenant has had its day and a resume ends what was agreed to: raises Conflict
        (`tenant_not_suspended`) and what `Approvals.used_up` raises.
        """

        async def agreed() -> Sequence[StreamAppend]:
            since = (await self.get(tenant_id)).suspended_since
            return await self._approvals.used_up(
                caller, "tenant.delete", tenant_id, always=True, asked_since=since
            )

        found = await self.get(tenant_id)
        if found.status in ("deleting", "deleted"):
            return found, Done(stream_version=found.version, events=(), position=None)
        of_tenant = TenantId(tenant_id)
        done = await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            of_tenant,
            of_tenant,
            _tenant,
            lambda state: t.start_deletion(_present(state)),
            agreed,
        )
        return await self.get(tenant_id), done

    async def ask_deletion(self, caller: Caller, tenant_id: UUID) -> Approval:
        """Ask somebody else to agree to it. Raises Forbidden (`insufficient_scope`) and Conflict
        (`tenant_not_suspended`)."""
        t.check_suspended(await self.get(tenant_id))
        return await self._approvals.ask(caller, "tenant.delete", tenant_id)

    async def _decided(
        self,
        caller: Caller,
        tenant_id: UUID,
        if_version: int | None,
        decide: Callable[[t.Tenant], Sequence[t.TenantEvent]],
    ) -> tuple[t.Tenant, Done]:
        def decided(state: t.Tenant | None) -> Sequence[t.TenantEvent]:
            tenant = _present(state)
            if if_version not in (None, tenant.version):
                raise PreconditionFailed("version_mismatch", f"current is {tenant.version}")
            return decide(tenant)

        of_tenant = TenantId(tenant_id)
        origin = caller.origin(self._ids.uuid())
        done = await execute(self._log, origin, of_tenant, of_tenant, _tenant, decided)
        return await self.get(tenant_id), done


def on_behalf(caller: Caller, tenant_id: TenantId) -> Caller:
    """The platform's caller, within this tenant's wall; the log still says who it is."""
    return Caller(tenant_id=tenant_id, actor=caller.actor, correlation_id=caller.correlation_id)


def _present(tenant: t.Tenant | None) -> t.Tenant:
    if tenant is None:
        raise NotFound("tenant_not_found")
    return tenant
