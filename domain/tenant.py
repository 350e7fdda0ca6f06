"""Tenant: who owns what, and the settings that its own decisions are taken under."""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

import msgspec

from domain.errors import Invalid
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import TenantId
from domain.matching import MatchPolicy

AuthMethod = Literal["otp_sms", "otp_email", "password", "google", "apple"]
"""How a tenant's people may sign in (000 §1.5). So far only the codes have a way in; the others are
named so that a tenant's settings need not change once they have."""


class TenantSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant decides for itself (000 §1.5; reference broker.md §3.11)."""

    consent_required: bool = True
    kyc_required: bool = False
    audit_enabled: bool = True
    palm_model: Literal["large", "small"] = "large"
    match_policy: MatchPolicy = MatchPolicy()
    consent_version: Annotated[str, msgspec.Meta(min_length=1, max_length=32)] = "1"
    default_deadline_ms: Annotated[int, msgspec.Meta(ge=500, le=10_000)] = 3000
    device_receives_user_id: bool = False
    duplicate_palm_check: bool = True
    allowed_countries: tuple[str, ...] = ()
    access_token_s: Annotated[int, msgspec.Meta(ge=60, le=86_400)] = 900
    webhook_mtls_required: bool = True
    auth_methods: tuple[AuthMethod, ...] = ("otp_sms", "otp_email", "password", "google", "apple")
    user_token_s: Annotated[int, msgspec.Meta(ge=60, le=3600)] = 600
    session_idle_days: Annotated[int, msgspec.Meta(ge=1, le=365)] = 30
    session_days: Annotated[int, msgspec.Meta(ge=1, le=365)] = 180
    lockout_attempts: Annotated[int, msgspec.Meta(ge=3, le=20)] = 10
    lockout_s: Annotated[int, msgspec.Meta(ge=60, le=86_400)] = 900
    certificate_days: Annotated[int, msgspec.Meta(ge=1, le=397)] = 90
    certificate_renew_percent: Annotated[int, msgspec.Meta(ge=10, le=95)] = 67
    certificate_lapsed_days: Annotated[int, msgspec.Meta(ge=0, le=365)] = 30
    certificate_overlap_h: Annotated[int, msgspec.Meta(ge=1, le=720)] = 24
    heartbeat_s: Annotated[int, msgspec.Meta(ge=10, le=3600)] = 60


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

    The version is ours to count: what the caller wrote there is not read.
    """
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
