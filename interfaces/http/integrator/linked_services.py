"""`/v1/linked-services`: the products that a tenant routes to (004 §10.2)."""

from typing import Any, Final

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from application.principals import Manager
from domain.errors import NotFound
from domain.ids import LinkedServiceId, wire
from domain.linked_service import LinkedServiceRegistered
from interfaces.http.as_of import AS_OF, AsOf, folding, moment, past_row, told
from interfaces.http.integrator.linked_service_shapes import (
    PREFIX,
    LinkedServiceChange,
    LinkedServicePage,
    LinkedServiceShown,
    NewLinkedService,
    shown,
)
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import (
    Cursor,
    IdempotencyKey,
    IfMatch,
    Limit,
    MinPosition,
    cursor,
    etag,
    expected_version,
    header_key,
    opaque,
    path_id,
    reading,
)
from interfaces.http.positions import positioned
from interfaces.http.refusals import BODY, CONDITION, KEY, PAGE, WRITE, Refusals, merged
from interfaces.http.services import Services
from projections import linked_services as view

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

NOT_FOUND: Final = "linked_service_not_found"
ROUTING: Final[Refusals] = {
    422: (
        "url_invalid",
        "url_scheme_forbidden",
        "url_forbidden",
        "path_invalid",
        "stand_in_invalid",
        "allowed_actions_invalid",
        "action_invalid",
    )
}


@post(
    "/v1/linked-services",
    operation_id="registerLinkedService",
    tags=["Linked services"],
    summary="Register a product backend",
    dto=StrictJSON[NewLinkedService],
    return_dto=None,
    permission="linked_services.write",
    request_max_body_size=65_536,
    refusals=merged(
        BODY,
        KEY,
        WRITE,
        ROUTING,
        {404: (NOT_FOUND,), 409: ("product_key_taken",), 422: ("product_key_invalid",)},
    ),
)
async def register(
    request: Request[Any, Any, Any],
    data: JSONBody[NewLinkedService],
    integrator: Integrator,
    services: Given,
    idempotency_key: IdempotencyKey = None,
) -> Response[LinkedServiceShown]:
    del idempotency_key  # declared for OpenAPI; read from the raw headers to see a second one
    service, done = await services.linked_services.register(
        integrator, data.product_key, data.routing(), header_key(request)
    )
    location = f"/v1/linked-services/{wire(PREFIX, service.id)}"
    return Response(
        shown(services, service),
        headers={"location": location, **etag(service.version), **positioned(done)},
    )


@get(
    "/v1/linked-services",
    operation_id="listLinkedServices",
    tags=["Linked services"],
    summary="List the tenant's products",
    permission="linked_services.read",
    refusals=merged(PAGE, AS_OF),
)
async def index(
    integrator: Integrator,
    services: Given,
    page: Cursor = None,
    limit: Limit = 50,
    min_position: MinPosition = None,
    as_of: AsOf = None,
) -> Response[LinkedServicePage]:
    after = cursor(page)
    up_to = await moment(services, as_of)
    if up_to is not None:
        past = await services.history.page(
            integrator.tenant_id,
            LinkedServiceRegistered,
            folding(view.reduce),
            up_to=up_to,
            after=after,
            limit=limit,
            keep=lambda row: row.status != "deleted",
        )
        items = [shown(services, row, row.registered_at, row.changed_at) for row in past.states]
        page_then = LinkedServicePage(items=items, next=opaque(past.next))
        return Response(page_then, headers=told(up_to))
    async with reading(services, integrator.tenant_id, view.READ_MODEL, min_position) as connection:
        found = await view.by_tenant(connection, integrator.tenant_id, after=after, limit=limit)
    of_all = await services.health.of(integrator.tenant_id, [row.service_id for row in found.rows])
    items = [
        shown(services, row, row.registered_at, row.changed_at, of_all[row.service_id])
        for row in found.rows
    ]
    return Response(LinkedServicePage(items=items, next=opaque(found.next)))


@get(
    "/v1/linked-services/{service_id:str}",
    operation_id="getLinkedService",
    tags=["Linked services"],
    summary="One product, with its ETag",
    permission="linked_services.read",
    refusals=merged(AS_OF, {404: (NOT_FOUND,)}),
)
async def show(
    service_id: FromPath[str], integrator: Integrator, services: Given, as_of: AsOf = None
) -> Response[LinkedServiceShown]:
    found = path_id(PREFIX, service_id, NOT_FOUND)
    up_to = await moment(services, as_of)
    if up_to is not None:
        row = await past_row(
            services,
            integrator.tenant_id,
            found,
            LinkedServiceRegistered,
            view.reduce,
            up_to,
            NOT_FOUND,
        )
        if row.status == "deleted":
            raise NotFound(NOT_FOUND)
        return Response(
            shown(services, row, row.registered_at, row.changed_at),
            headers={**etag(row.version), **told(up_to)},
        )
    service = await services.linked_services.get(integrator.tenant_id, found)
    health = (await services.health.of(integrator.tenant_id, (service.id,)))[service.id]
    return Response(shown(services, service, health=health), headers=etag(service.version))


@patch(
    "/v1/linked-services/{service_id:str}",
    operation_id="changeLinkedService",
    tags=["Linked services"],
    summary="Change, suspend or resume a product",
    dto=StrictJSON[LinkedServiceChange],
    return_dto=None,
    permission="linked_services.write",
    request_max_body_size=65_536,
    refusals=merged(
        BODY, CONDITION, WRITE, ROUTING, {404: (NOT_FOUND,), 428: ("if_match_required",)}
    ),
)
async def change(
    service_id: FromPath[str],
    data: JSONBody[LinkedServiceChange],
    integrator: Integrator,
    services: Given,
    if_match: IfMatch = None,
) -> Response[LinkedServiceShown]:
    found = path_id(PREFIX, service_id, NOT_FOUND)
    version = expected_version(if_match, required=True)
    status = None if data.status is msgspec.UNSET else data.status
    service, done = await services.linked_services.change(
        integrator, LinkedServiceId(found), version, data.apply, status
    )
    headers = {**etag(service.version), **positioned(done)}
    return Response(shown(services, service), headers=headers)


@delete(
    "/v1/linked-services/{service_id:str}",
    operation_id="deleteLinkedService",
    tags=["Linked services"],
    summary="Remove a product that no device is bound to",
    permission="linked_services.write",
    status_code=204,
    refusals=merged(
        CONDITION,
        WRITE,
        {404: (NOT_FOUND,), 409: ("devices_bound",), 503: ("position_not_reached",)},
    ),
)
async def remove(
    service_id: FromPath[str], integrator: Integrator, services: Given, if_match: IfMatch = None
) -> Response[None]:
    found = path_id(PREFIX, service_id, NOT_FOUND)
    version = expected_version(if_match, required=False)
    done = await services.linked_services.delete(integrator, found, version)
    return Response(None, status_code=204, headers=positioned(done))


HANDLERS = (register, index, show, change, remove)
