"""`/v1/tenants`: all tenants, for clients of the platform itself. To others they are not there."""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from application.execute import Done
from application.principals import Manager
from application.tenants.lifecycle import on_behalf
from domain import tenant as t
from domain.errors import NotFound
from domain.ids import PLATFORM, TenantId, wire
from domain.tenant import SuspensionReason, TenantSettings, TenantStatus
from interfaces.http.as_of import AS_OF, AsOf
from interfaces.http.integrator.tenant import TenantShown, tenant_shown
from interfaces.http.integrator.tenant_settings import (
    CHANGE,
    NOT_FOUND,
    SettingsChange,
    changes_of,
    settings_shown,
    tenant_at,
)
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import (
    ApprovalHeader,
    Cursor,
    IdempotencyKey,
    IfMatch,
    Limit,
    MinPosition,
    cursor,
    etag,
    expected_version,
    fresh,
    header_key,
    opaque,
    path_id,
)
from interfaces.http.positions import positioned
from interfaces.http.refusals import APPROVAL, BODY, CONDITION, KEY, PAGE, WRITE, Refusals, merged
from interfaces.http.services import Services
from projections import tenants as view

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

PREFIX: Final = "ten"
ONE: Final[Refusals] = merged(CONDITION, WRITE, {404: (NOT_FOUND,), 409: ("tenant_deleted",)})
WithStatus = Annotated[TenantStatus | None, QueryParameter(name="status")]


class NewTenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `sandbox` is for trying, for ever: only there are transactions simulated."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    sandbox: bool = False


class TenantSuspension(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: SuspensionReason = "unspecified"


class TenantListed(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    sandbox: bool
    status: TenantStatus
    version: int
    created_at: datetime
    changed_at: datetime


class TenantPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[TenantListed]
    next: str | None


@post(
    "/v1/tenants",
    operation_id="createTenant",
    tags=["Tenants"],
    summary="Create a tenant, with the default settings",
    dto=StrictJSON[NewTenant],
    return_dto=None,
    permission="tenants.write",
    refusals=merged(BODY, KEY, WRITE, {404: (NOT_FOUND,), 422: ("tenant_name_invalid",)}),
)
async def create(
    request: Request[Any, Any, Any],
    data: JSONBody[NewTenant],
    integrator: Integrator,
    services: Given,
    idempotency_key: IdempotencyKey = None,
) -> Response[TenantShown]:
    del idempotency_key  # declared for OpenAPI; read from the raw headers to see a second one
    _of_platform(integrator)
    tenant, done = await services.tenant_lifecycle.create(
        integrator, data.name, sandbox=data.sandbox, key=header_key(request)
    )
    answer = _answer(tenant, done, 201)
    answer.headers["location"] = f"/v1/tenants/{wire(PREFIX, tenant.id)}"
    return answer


@get(
    "/v1/tenants",
    operation_id="listTenants",
    tags=["Tenants"],
    summary="List all tenants",
    permission="tenants.read",
    refusals=merged(PAGE, {404: (NOT_FOUND,)}),
)
async def index(
    integrator: Integrator,
    services: Given,
    status: WithStatus = None,
    page: Cursor = None,
    limit: Limit = 50,
    min_position: MinPosition = None,
) -> TenantPage:
    _of_platform(integrator)
    after = cursor(page)
    await fresh(services.read_models, PLATFORM, view.READ_MODEL.name, min_position)
    found = await services.every_tenant.page(status, after, limit)
    return TenantPage(items=[_listed(row) for row in found.rows], next=opaque(found.next))


@get(
    "/v1/tenants/{tenant_id:str}",
    operation_id="getOneTenant",
    tags=["Tenants"],
    summary="One tenant with its settings",
    permission="tenants.read",
    refusals=merged(AS_OF, {404: (NOT_FOUND,)}),
)
async def show(
    tenant_id: FromPath[str], integrator: Integrator, services: Given, as_of: AsOf = None
) -> Response[TenantShown]:
    _of_platform(integrator)
    found = _of_path(tenant_id)
    await services.tenant_lifecycle.get(found)
    tenant, headers = await tenant_at(services, found, as_of)
    return Response(tenant_shown(tenant), headers=headers)


@post(
    "/v1/tenants/{tenant_id:str}/suspend",
    operation_id="suspendTenant",
    tags=["Tenants"],
    summary="Serve nobody of a tenant: no device, no backend, no person, no webhook",
    status_code=200,
    dto=StrictJSON[TenantSuspension],
    return_dto=None,
    permission="tenants.write",
    refusals=merged(BODY, ONE),
)
async def suspend(
    tenant_id: FromPath[str],
    data: JSONBody[TenantSuspension],
    integrator: Integrator,
    services: Given,
    if_match: IfMatch = None,
) -> Response[TenantShown]:
    _of_platform(integrator)
    version = expected_version(if_match, required=False)
    found = _of_path(tenant_id)
    return _answer(
        *await services.tenant_lifecycle.suspend(integrator, found, version, data.reason)
    )


@post(
    "/v1/tenants/{tenant_id:str}/resume",
    operation_id="resumeTenant",
    tags=["Tenants"],
    summary="Serve a suspended tenant again",
    status_code=200,
    permission="tenants.write",
    refusals=ONE,
)
async def resume(
    tenant_id: FromPath[str], integrator: Integrator, services: Given, if_match: IfMatch = None
) -> Response[TenantShown]:
    _of_platform(integrator)
    version = expected_version(if_match, required=False)
    found = _of_path(tenant_id)
    return _answer(*await services.tenant_lifecycle.resume(integrator, found, version))


@delete(
    "/v1/tenants/{tenant_id:str}",
    operation_id="deleteTenant",
    tags=["Tenants"],
    summary="Delete a suspended tenant, by two people; asked again, it says how far that is",
    status_code=202,
    permission="tenants.write",
    refusals=merged(WRITE, APPROVAL, {404: (NOT_FOUND,), 409: ("tenant_not_suspended",)}),
)
async def remove(
    tenant_id: FromPath[str],
    integrator: Integrator,
    services: Given,
    approval: ApprovalHeader = None,
) -> Response[TenantShown]:
    del approval  # declared for OpenAPI; the door read it
    _of_platform(integrator)
    return _answer(*await services.tenant_lifecycle.delete(integrator, _of_path(tenant_id)), 202)


@get(
    "/v1/tenants/{tenant_id:str}/settings",
    operation_id="getSettingsOfTenant",
    tags=["Tenants"],
    summary="What a tenant decides for itself",
    permission="tenants.read",
    refusals=merged(AS_OF, {404: (NOT_FOUND,)}),
)
async def settings(
    tenant_id: FromPath[str], integrator: Integrator, services: Given, as_of: AsOf = None
) -> Response[TenantSettings]:
    _of_platform(integrator)
    found = _of_path(tenant_id)
    await services.tenant_lifecycle.get(found)
    return await settings_shown(services, found, as_of)


@patch(
    "/v1/tenants/{tenant_id:str}/settings",
    operation_id="changeSettingsOfTenant",
    tags=["Tenants"],
    summary="Change settings of a tenant",
    dto=StrictJSON[SettingsChange],
    return_dto=None,
    permission="tenants.write",
    refusals=merged(CHANGE, {409: ("tenant_deleted",)}),
)
async def change_settings(
    tenant_id: FromPath[str],
    data: JSONBody[SettingsChange],
    integrator: Integrator,
    services: Given,
    if_match: IfMatch = None,
) -> Response[TenantSettings]:
    _of_platform(integrator)
    version = expected_version(if_match, required=True)
    found = _of_path(tenant_id)
    await services.tenant_lifecycle.get(found)
    done = await services.tenants.change_settings(
        on_behalf(integrator, found), changes_of(data), version
    )
    answer = await settings_shown(services, found, None)
    answer.headers.update(positioned(done))
    return answer


def _of_platform(integrator: Manager) -> None:
    """Raises NotFound (`tenant_not_found`) for clients of a tenant: nobody else is there for them,
    and under this path they are not there themselves."""
    if integrator.tenant_id != PLATFORM:
        raise NotFound(NOT_FOUND)


def _of_path(text: str) -> TenantId:
    """Raises NotFound (`tenant_not_found`)."""
    return TenantId(path_id(PREFIX, text, NOT_FOUND))


def _answer(tenant: t.Tenant, done: Done, status: int = 200) -> Response[TenantShown]:
    headers = {**etag(tenant.version), **positioned(done)}
    return Response(tenant_shown(tenant), status_code=status, headers=headers)


def _listed(row: view.TenantRow) -> TenantListed:
    return TenantListed(
        id=wire(PREFIX, row.tenant_id),
        name=row.name,
        sandbox=row.sandbox,
        status=row.status,
        version=row.version,
        created_at=row.created_at,
        changed_at=row.changed_at,
    )


HANDLERS = (create, index, show, suspend, resume, remove, settings, change_settings)
