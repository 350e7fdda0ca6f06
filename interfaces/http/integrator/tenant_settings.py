"""`/v1/tenant/settings`: what the caller's tenant decides for itself, now and before."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, get_type_hints

import msgspec
from litestar import Response, get, patch
from litestar.di import NamedDependency
from litestar.params import JSONBody

from application.principals import Manager
from domain import tenant as t
from domain.attestation import AttestationPolicy
from domain.errors import NotFound
from domain.events import Recorded
from domain.ids import TenantId
from domain.tenant import TenantSettings
from interfaces.http.as_of import AS_OF, AsOf, moment, told
from interfaces.http.integrator.match_policies import CandidatePolicy
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import (
    Cursor,
    IfMatch,
    Limit,
    cursor,
    etag,
    expected_version,
    opaque,
)
from interfaces.http.positions import positioned
from interfaces.http.refusals import BODY, CONDITION, WRITE, Refusals, merged
from interfaces.http.services import Services

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

NOT_FOUND: Final = "tenant_not_found"
CHANGE: Final[Refusals] = merged(
    BODY,
    CONDITION,
    WRITE,
    {404: (NOT_FOUND,), 422: ("settings_invalid",), 428: ("if_match_required",)},
)


class StrictAttestationPolicy(
    AttestationPolicy, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """What hardware must prove of a device's key; whole, as other settings are."""


if TYPE_CHECKING:

    class SettingsChange(msgspec.Struct):
        """The settings to change, whole each; what is absent stays."""

else:
    _STRICT: Final[Mapping[str, Any]] = {
        "match_policy": CandidatePolicy,
        "attestation": StrictAttestationPolicy,
    }
    SettingsChange = msgspec.defstruct(
        "SettingsChange",
        [
            (name, _STRICT.get(name, hint) | msgspec.UnsetType, msgspec.UNSET)
            for name, hint in get_type_hints(TenantSettings, include_extras=True).items()
        ],
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
        module=__name__,
        namespace={"__doc__": "The settings to change, whole each; what is absent stays."},
    )


def changes_of(data: SettingsChange) -> dict[str, Any]:
    """The settings that were named, as plain values."""
    given: dict[str, Any] = msgspec.to_builtins(data)
    return given


class SettingsSchema(msgspec.Struct, frozen=True, kw_only=True):
    """`schema` is JSON Schema 2020-12, with the default, the bounds and the use of each setting."""

    schema: dict[str, Any]


class SettingsVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Settings as they were from `position` on; `changed` are those that were others before, none
    of them at first. `version` is the ETag that they had."""

    version: int
    position: int
    changed_at: datetime
    changed: tuple[str, ...]
    settings: TenantSettings


class SettingsVersionPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[SettingsVersion]
    next: str | None


@get(
    "/v1/tenant/settings",
    operation_id="getTenantSettings",
    tags=["Tenant"],
    summary="What your tenant decides for itself, with the ETag to change it",
    permission="tenant.read",
    refusals=merged(AS_OF, {404: (NOT_FOUND,)}),
)
async def show(
    integrator: Integrator, services: Given, as_of: AsOf = None
) -> Response[TenantSettings]:
    return await settings_shown(services, integrator.tenant_id, as_of)


@patch(
    "/v1/tenant/settings",
    operation_id="changeTenantSettings",
    tags=["Tenant"],
    summary="Change settings of your tenant",
    dto=StrictJSON[SettingsChange],
    return_dto=None,
    permission="tenant.write",
    refusals=CHANGE,
)
async def change(
    data: JSONBody[SettingsChange],
    integrator: Integrator,
    services: Given,
    if_match: IfMatch = None,
) -> Response[TenantSettings]:
    version = expected_version(if_match, required=True)
    done = await services.tenants.change_settings(integrator, changes_of(data), version)
    answer = await settings_shown(services, integrator.tenant_id, None)
    answer.headers.update(positioned(done))
    return answer


@get(
    "/v1/tenant/settings/schema",
    operation_id="getTenantSettingsSchema",
    tags=["Tenant"],
    summary="Every setting there is: its bounds, its default, what it does",
    permission="tenant.read",
)
async def schema(integrator: Integrator) -> SettingsSchema:
    del integrator  # the same for everybody whom the door let in
    return SettingsSchema(schema=_SCHEMA)


@get(
    "/v1/tenant/settings/versions",
    operation_id="listTenantSettingsVersions",
    tags=["Tenant"],
    summary="The settings that were in force, from the first on, and since when",
    permission="tenant.read",
    refusals={400: ("invalid_request", "cursor_invalid")},
)
async def versions(
    integrator: Integrator, services: Given, page: Cursor = None, limit: Limit = 50
) -> SettingsVersionPage:
    after = cursor(page) or 0
    past = await services.history.stream(
        integrator.tenant_id, integrator.tenant_id, t.TenantCreated, await services.history.end()
    )
    found = [each for each in map(_version, past) if each is not None and each.position > after]
    more = found[limit - 1].position if len(found) > limit else None
    return SettingsVersionPage(items=found[:limit], next=opaque(more))


async def tenant_at(
    services: Services, tenant_id: TenantId, as_of: str | None
) -> tuple[t.Tenant, dict[str, str]]:
    """The tenant as it is, or was at that moment, and the headers that say which.

    Raises NotFound (`tenant_not_found`), Malformed (`as_of_invalid`, `as_of_in_future`).
    """
    up_to = await moment(services, as_of)
    if up_to is None:
        tenant: t.Tenant | None = await services.tenants.get(tenant_id)
    else:
        past = await services.history.stream(tenant_id, tenant_id, t.TenantCreated, up_to)
        tenant = t.rebuild(past)
    if tenant is None:
        raise NotFound(NOT_FOUND)
    return tenant, {**etag(tenant.version), **told(up_to)}


async def settings_shown(
    services: Services, tenant_id: TenantId, as_of: str | None
) -> Response[TenantSettings]:
    tenant, headers = await tenant_at(services, tenant_id, as_of)
    return Response(tenant.settings, headers=headers)


def _version(recorded: Recorded) -> SettingsVersion | None:
    """None for what is not about settings."""
    event = recorded.event
    if not isinstance(event, t.TenantCreated | t.TenantSettingsChanged):
        return None
    return SettingsVersion(
        version=recorded.version,
        position=recorded.position,
        changed_at=recorded.recorded_at,
        changed=() if isinstance(event, t.TenantCreated) else event.changed,
        settings=event.settings,
    )


_SCHEMA: Final[dict[str, Any]] = msgspec.json.schema(TenantSettings)

HANDLERS = (show, change, schema, versions)
