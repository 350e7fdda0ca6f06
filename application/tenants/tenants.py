"""Tenant commands."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from application.execute import Done, execute
from application.ports import EventLog, IdSource
from application.principals import Caller
from domain import tenant as t
from domain.attestation import AttestationPolicy
from domain.errors import Invalid, NotFound, PreconditionFailed
from domain.ids import TenantId
from domain.matching import MatchPolicy

TENANT_KEY_SYMBOLS = "abcdefghijklmnopqrstuvwxyz0123456789"


_Score = Annotated[float, msgspec.Meta(ge=0, le=1)]


class _MatchPolicy(MatchPolicy, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The nested part of what a caller writes, just as strict."""

    minimum: tuple[_Score, _Score, _Score, _Score] = (0.0, 0.0, 0.0, 0.0)


class _AttestationPolicy(AttestationPolicy, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The other nested part."""


class _Settings(t.TenantSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller writes: a name that means nothing is an error here, and never in the log."""

    match_policy: _MatchPolicy = _MatchPolicy()
    attestation: _AttestationPolicy = _AttestationPolicy()


class Tenants:
    def __init__(self, log: EventLog, ids: IdSource) -> None:
        self._log = log
        self._ids = ids

    async def create(self, caller: Caller, name: str, *, sandbox: bool = False) -> t.Tenant:
        """A new tenant with the default settings and a namespace of its own at the palm vendor."""
        tenant_id = caller.tenant_id
        tenant_key = self._ids.code(TENANT_KEY_SYMBOLS, 20)
        await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            tenant_id,
            tenant_id,
            t.rebuild,
            lambda state: t.create(state, name=name, tenant_key=tenant_key, sandbox=sandbox),
        )
        return await self.get(tenant_id)

    async def get(self, tenant_id: TenantId) -> t.Tenant:
        """Raises NotFound (`tenant_not_found`)."""
        tenant = t.rebuild(await self._log.load(tenant_id, tenant_id))
        if tenant is None:
            raise NotFound("tenant_not_found")
        return tenant

    async def change_settings(
        self, caller: Caller, changes: Mapping[str, Any], if_version: int | None = None
    ) -> Done:
        """Replace the named settings.

        Raises Invalid (`settings_invalid`) naming what is wrong, and PreconditionFailed
        (`version_mismatch`) when the tenant is not at `if_version` any more.
        """

        def decide(tenant: t.Tenant | None) -> list[t.TenantEvent]:
            if tenant is None:
                raise NotFound("tenant_not_found")
            if if_version not in (None, tenant.version):
                raise PreconditionFailed("version_mismatch", f"current is {tenant.version}")
            merged = msgspec.to_builtins(tenant.settings) | dict(changes)
            try:
                settings = msgspec.convert(merged, _Settings)
            except msgspec.ValidationError as error:
                raise Invalid("settings_invalid", str(error)) from error
            known = msgspec.convert(msgspec.to_builtins(settings), t.TenantSettings)
            return t.change_settings(tenant, known)

        return await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            caller.tenant_id,
            caller.tenant_id,
            t.rebuild,
            decide,
        )
