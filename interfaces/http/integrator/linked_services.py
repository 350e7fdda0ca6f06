"""`/v1/linked-services`: the products that a tenant routes to (004 §10.2)."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from application.ports.health import HealthRecord
from application.principals import Manager
from domain.errors import NotFound
from domain.fail_mode import FailMode
from domain.ids import LinkedServiceId, wire
from domain.linked_service import (
    BreakerSettings,
    LinkedService,
    LinkedServiceRegistered,
    Path,
    Routing,
    ShadowPolicy,
    StandIn,
    StandInWindow,
)
from interfaces.http.as_of import AS_OF, AsOf, folding, moment, past_row, told
from interfaces.http.integrator.health import HealthShown, health_shown
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
    fresh,
    header_key,
    opaque,
    path_id,
)
from interfaces.http.positions import positioned
from interfaces.http.refusals import BODY, CONDITION, KEY, PAGE, WRITE, Refusals, merged
from interfaces.http.services import Services
from projections import linked_services as view

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

PREFIX: Final = "lsvc"
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

Url = Annotated[str, msgspec.Meta(min_length=8, max_length=512)]
ProductKey = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_-]{0,62}$")]
Timeout = Annotated[int, msgspec.Meta(ge=50, le=10_000)]
Actions = Annotated[
    tuple[Annotated[str, msgspec.Meta(max_length=63)], ...], msgspec.Meta(max_length=32)
]


class StandInWindowBody(StandInWindow, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller writes; the log reads the tolerant shape."""

    def plain(self) -> StandInWindow:
        return StandInWindow(
            **{name: getattr(self, name) for name in StandInWindow.__struct_fields__}
        )


class StandInBody(StandIn, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller writes; the log reads the tolerant shape."""

    per_window: StandInWindowBody | None = None

    def plain(self) -> StandIn:
        return StandIn(**{name: _plain(getattr(self, name)) for name in StandIn.__struct_fields__})


class BreakerBody(BreakerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller writes; the log reads the tolerant shape."""

    def plain(self) -> BreakerSettings:
        return BreakerSettings(
            **{name: getattr(self, name) for name in BreakerSettings.__struct_fields__}
        )


class ShadowBody(ShadowPolicy, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller writes; the log reads the tolerant shape."""

    stand_in: StandInBody = StandInBody()

    def plain(self) -> ShadowPolicy:
        return ShadowPolicy(fail_mode=self.fail_mode, stand_in=self.stand_in.plain())


class NewLinkedService(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a Tenant Admin fills in (004 diagram 8.4) and what the broker adds to it."""

    product_key: ProductKey
    base_url: Url
    authorize_path: Path = "/authorize"
    health_path: Path = "/health"
    void_path: Path | None = None
    advice_path: Path | None = None
    timeout_ms: Timeout = 800
    fail_mode: FailMode = "closed"
    allowed_actions: Actions = ()
    stand_in: StandInBody = StandInBody()
    breaker: BreakerBody = BreakerBody()
    shadow: ShadowBody | None = None

    def routing(self) -> Routing:
        return Routing(**{name: _plain(getattr(self, name)) for name in Routing.__struct_fields__})


class LinkedServiceChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields to change; what is absent stays."""

    base_url: Url | msgspec.UnsetType = msgspec.UNSET
    authorize_path: Path | msgspec.UnsetType = msgspec.UNSET
    health_path: Path | msgspec.UnsetType = msgspec.UNSET
    void_path: Path | msgspec.UnsetType | None = msgspec.UNSET
    advice_path: Path | msgspec.UnsetType | None = msgspec.UNSET
    timeout_ms: Timeout | msgspec.UnsetType = msgspec.UNSET
    fail_mode: FailMode | msgspec.UnsetType = msgspec.UNSET
    allowed_actions: Actions | msgspec.UnsetType = msgspec.UNSET
    stand_in: StandInBody | msgspec.UnsetType = msgspec.UNSET
    breaker: BreakerBody | msgspec.UnsetType = msgspec.UNSET
    shadow: ShadowBody | msgspec.UnsetType | None = msgspec.UNSET
    status: Literal["active", "suspended"] | msgspec.UnsetType = msgspec.UNSET

    def apply(self, routing: Routing) -> Routing:
        given = {
            name: _plain(value)
            for name in Routing.__struct_fields__
            if (value := getattr(self, name)) is not msgspec.UNSET
        }
        return msgspec.structs.replace(routing, **given)


class LinkedServiceShown(msgspec.Struct, frozen=True, kw_only=True):
    """A linked service. No secret is part of it: products verify our assertion (004 §10.5).

    `health` is of this moment, and absent where the past is shown.
    """

    id: str
    product_key: str
    base_url: str
    authorize_path: str
    health_path: str
    void_path: str | None
    advice_path: str | None
    timeout_ms: int
    fail_mode: FailMode
    allowed_actions: tuple[str, ...]
    stand_in: StandIn
    breaker: BreakerSettings
    shadow: ShadowPolicy | None
    status: Literal["active", "suspended"]
    version: int
    audience: str
    registered_at: datetime | None = None
    changed_at: datetime | None = None
    health: HealthShown | None = None


class LinkedServicePage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[LinkedServiceShown]
    next: str | None


def _plain(value: object) -> Any:
    if isinstance(value, StandInBody | StandInWindowBody | BreakerBody | ShadowBody):
        return value.plain()
    return value


def _shown(
    services: Services,
    found: LinkedService | view.LinkedServiceRow,
    registered_at: datetime | None = None,
    changed_at: datetime | None = None,
    health: HealthRecord | None = None,
) -> LinkedServiceShown:
    service_id = found.id if isinstance(found, LinkedService) else found.service_id
    routing = {name: getattr(found.routing, name) for name in Routing.__struct_fields__}
    tenant, service = wire("ten", found.tenant_id), wire(PREFIX, service_id)
    return LinkedServiceShown(
        id=service,
        product_key=found.product_key,
        status="suspended" if found.status == "suspended" else "active",
        version=found.version,
        audience=f"{services.issuer}/tenants/{tenant}/linked-services/{service}",
        registered_at=registered_at,
        changed_at=changed_at,
        health=None if health is None else health_shown(health),
        **routing,
    )


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
        _shown(services, service),
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
        items = [_shown(services, row, row.registered_at, row.changed_at) for row in past.states]
        shown = LinkedServicePage(items=items, next=opaque(past.next))
        return Response(shown, headers=told(up_to))
    await fresh(services.read_models, integrator.tenant_id, view.READ_MODEL.name, min_position)
    async with services.read_models.scope(integrator.tenant_id) as connection:
        found = await view.by_tenant(connection, integrator.tenant_id, after=after, limit=limit)
    of_all = await services.health.of(integrator.tenant_id, [row.service_id for row in found.rows])
    items = [
        _shown(services, row, row.registered_at, row.changed_at, of_all[row.service_id])
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
            _shown(services, row, row.registered_at, row.changed_at),
            headers={**etag(row.version), **told(up_to)},
        )
    service = await services.linked_services.get(integrator.tenant_id, found)
    health = (await services.health.of(integrator.tenant_id, (service.id,)))[service.id]
    return Response(_shown(services, service, health=health), headers=etag(service.version))


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
    return Response(_shown(services, service), headers=headers)


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
