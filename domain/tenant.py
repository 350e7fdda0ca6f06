"""Tenant: who owns what, and the settings that its own decisions are taken under."""

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from domain.errors import Conflict, Forbidden, Invalid
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import TenantId
from domain.tenant_settings import AuthMethod as AuthMethod
from domain.tenant_settings import TenantSettings as TenantSettings
from domain.tenant_settings import check
from domain.tenant_settings import password_policy as password_policy

SuspensionReason = Literal["unspecified", "requested", "unpaid", "abuse", "under_review"]


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


class TenantSuspended(DomainEvent, frozen=True, kw_only=True):
    """Nobody of the tenant is served from now on: no device, no backend, no person."""

    NAME: ClassVar[str] = "tenant.suspended"
    reason: SuspensionReason = "unspecified"


class TenantResumed(DomainEvent, frozen=True, kw_only=True):
    """The tenant is served again, with everything that it had."""

    NAME: ClassVar[str] = "tenant.resumed"


class TenantDeletionStarted(DomainEvent, frozen=True, kw_only=True):
    """The tenant is served no more, for good, and what is held for it is being destroyed."""

    NAME: ClassVar[str] = "tenant.deletion_started"


class TenantDataDestroyed(DomainEvent, frozen=True, kw_only=True):
    """The tenant's keys are destroyed, and with them all that was sealed under them; secrets,
    sessions and codes are deleted."""

    NAME: ClassVar[str] = "tenant.data_destroyed"


class TenantDeleted(DomainEvent, frozen=True, kw_only=True):
    """Nothing is left of the tenant, at the palm vendor neither, but what the log proves."""

    NAME: ClassVar[str] = "tenant.deleted"


TenantEvent = (
    TenantCreated
    | TenantSettingsChanged
    | TenantSuspended
    | TenantResumed
    | TenantDeletionStarted
    | TenantDataDestroyed
    | TenantDeleted
)
TenantStatus = Literal["active", "suspended", "deleting", "deleted"]


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    id: TenantId
    version: int
    name: str
    tenant_key: str
    settings: TenantSettings
    sandbox: bool = False
    status: TenantStatus = "active"
    suspended_since: datetime | None = None
    data_destroyed: bool = False


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
    (`settings_invalid`) and Conflict (`tenant_deleted`).
    """
    _not_deleted(tenant)
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


def serve(tenant: Tenant) -> None:
    """Raises Forbidden (`tenant_suspended`) unless the tenant is served."""
    if tenant.status != "active":
        raise Forbidden("tenant_suspended", "whoever runs the platform has suspended this tenant")


def suspend(tenant: Tenant, reason: SuspensionReason) -> list[TenantEvent]:
    """Raises Conflict (`tenant_deleted`)."""
    _not_deleted(tenant)
    return [TenantSuspended(reason=reason)] if tenant.status == "active" else []


def resume(tenant: Tenant) -> list[TenantEvent]:
    """Raises Conflict (`tenant_deleted`)."""
    _not_deleted(tenant)
    return [TenantResumed()] if tenant.status == "suspended" else []


def start_deletion(tenant: Tenant) -> list[TenantEvent]:
    """Only of who is suspended, so that nobody is cut off in the middle of the day by it.

    Again, it says nothing. Raises Conflict (`tenant_not_suspended`).
    """
    if tenant.status in ("deleting", "deleted"):
        return []
    check_suspended(tenant)
    return [TenantDeletionStarted()]


def check_suspended(tenant: Tenant) -> None:
    """Raises Conflict (`tenant_not_suspended`)."""
    if tenant.status != "suspended":
        raise Conflict("tenant_not_suspended", "suspend it first")


def note_data_destroyed(tenant: Tenant) -> list[TenantEvent]:
    return [TenantDataDestroyed()] if _is_left(tenant) and not tenant.data_destroyed else []


def finish_deletion(tenant: Tenant) -> list[TenantEvent]:
    return [TenantDeleted()] if _is_left(tenant) and tenant.data_destroyed else []


def _is_left(tenant: Tenant) -> bool:
    return tenant.status == "deleting"


def _not_deleted(tenant: Tenant) -> None:
    if tenant.status in ("deleting", "deleted"):
        raise Conflict("tenant_deleted", "this cannot be undone")


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
        case event if tenant is None:
            raise UnexpectedEvent(event)
        case TenantSettingsChanged() as event:
            return _moved(tenant, recorded, settings=event.settings)
        case TenantSuspended():
            since = recorded.recorded_at
            return _moved(tenant, recorded, status="suspended", suspended_since=since)
        case TenantResumed():
            return _moved(tenant, recorded, status="active", suspended_since=None)
        case TenantDeletionStarted():
            return _moved(tenant, recorded, status="deleting")
        case TenantDataDestroyed():
            return _moved(tenant, recorded, data_destroyed=True)
        case TenantDeleted():
            return _moved(tenant, recorded, status="deleted")
        case other:
            raise UnexpectedEvent(other)


def _moved(tenant: Tenant, recorded: Recorded, **changes: object) -> Tenant:
    return msgspec.structs.replace(tenant, version=recorded.version, **changes)


def rebuild(past: Iterable[Recorded]) -> Tenant | None:
    return fold(evolve, past)
