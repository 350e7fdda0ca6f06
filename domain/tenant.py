"""Tenant: who owns what, and the settings that its own decisions are taken under."""

from collections.abc import Iterable
from typing import ClassVar, Literal

import msgspec

from domain.errors import Invalid
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import TenantId
from domain.tenant_settings import AuthMethod as AuthMethod
from domain.tenant_settings import TenantSettings as TenantSettings
from domain.tenant_settings import check


class TenantCreated(DomainEvent, frozen=True, kw_only=True):
    """A tenant exists. `tenant_key` is its random namespace at the palm vendor.

    A `sandbox` is for trying, for ever: only there are transactions simulated.
    """

    NAME: ClassVar[str] = "tenant.created"
    name: str
    tenant_key: str
    settings: TenantSettings = TenantSettings()
    sandbox: bool = False


class TenantSettingsChanged(DomainEvent, frozen=True, kw_only=True):
    """From here on these settings are in force, whole."""

    NAME: ClassVar[str] = "tenant.settings_changed"
    settings: TenantSettings
    changed: tuple[str, ...]


TenantEvent = TenantCreated | TenantSettingsChanged


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    id: TenantId
    version: int
    name: str
    tenant_key: str
    settings: TenantSettings
    sandbox: bool = False
    status: Literal["active"] = "active"


def create(
    tenant: Tenant | None, *, name: str, tenant_key: str, sandbox: bool = False
) -> list[TenantEvent]:
    """A name is for people: 1 to 80 characters, no control characters."""
    if tenant is not None:
        return []
    if not 1 <= len(name.strip()) <= 80 or not name.isprintable():
        raise Invalid("tenant_name_invalid", "a name of 1 to 80 printable characters")
    return [TenantCreated(name=name.strip(), tenant_key=tenant_key, sandbox=sandbox)]


def change_settings(tenant: Tenant, settings: TenantSettings) -> list[TenantEvent]:
    """Changing nothing says nothing; a changed match policy gets the next policy version.

    The version is ours to count: what the caller wrote there is not read. Raises Invalid
    (`settings_invalid`).
    """
    check(settings)
    before = tenant.settings
    version = before.match_policy.version
    policy = msgspec.structs.replace(settings.match_policy, version=version)
    if policy != before.match_policy:
        policy = msgspec.structs.replace(policy, version=version + 1)
    settings = msgspec.structs.replace(settings, match_policy=policy)
    changed = tuple(
        field
        for field in TenantSettings.__struct_fields__
        if getattr(settings, field) != getattr(before, field)
    )
    return [TenantSettingsChanged(settings=settings, changed=changed)] if changed else []


def evolve(tenant: Tenant | None, recorded: Recorded) -> Tenant:
    match recorded.event:
        case TenantCreated() as event:
            return Tenant(
                id=TenantId(recorded.stream_id),
                version=recorded.version,
                name=event.name,
                tenant_key=event.tenant_key,
                settings=event.settings,
                sandbox=event.sandbox,
            )
        case TenantSettingsChanged() as event if tenant is not None:
            return msgspec.structs.replace(
                tenant, version=recorded.version, settings=event.settings
            )
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> Tenant | None:
    return fold(evolve, past)
