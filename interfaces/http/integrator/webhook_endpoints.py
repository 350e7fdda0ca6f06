"""`/v1/webhook-endpoints`: where a tenant is told of which events (reference broker.md §3.9)."""

from typing import Annotated, Any, Final, Literal

from litestar import Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from application.principals import Manager
from application.tenants.webhook_endpoints import KIND
from domain.ids import wire
from interfaces.http.integrator.webhook_shapes import (
    EVENT_PREFIX,
    PREFIX,
    NewWebhookEndpoint,
    Replay,
    SecretRotation,
    WebhookDeliveryPage,
    WebhookEndpointChange,
    WebhookEndpointPage,
    WebhookEndpointShown,
    WebhookReplayed,
    WebhookTestSent,
    delivery,
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
from projections import webhook_endpoints as view

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

NOT_FOUND: Final = "webhook_endpoint_not_found"
SUBSCRIPTION: Final[Refusals] = {
    422: (
        "url_invalid",
        "url_scheme_forbidden",
        "url_forbidden",
        "event_types_invalid",
        "mtls_required",
        "webhook_certificate_missing",
    )
}

StateFilter = Annotated[
    Literal["pending", "delivered", "dead"] | None, QueryParameter(name="state")
]


@post(
    "/v1/webhook-endpoints",
    operation_id="registerWebhookEndpoint",
    tags=["Webhooks"],
    summary="Be told of events",
    dto=StrictJSON[NewWebhookEndpoint],
    return_dto=None,
    permission="webhooks.write",
    refusals=merged(
        BODY,
        KEY,
        WRITE,
        SUBSCRIPTION,
        {
            404: (NOT_FOUND,),
            409: ("too_many_webhook_endpoints",),
            503: ("position_not_reached",),
        },
    ),
)
async def register(
    request: Request[Any, Any, Any],
    data: JSONBody[NewWebhookEndpoint],
    integrator: Integrator,
    services: Given,
    idempotency_key: IdempotencyKey = None,
) -> Response[WebhookEndpointShown]:
    del idempotency_key  # declared for OpenAPI; read from the raw headers to see a second one
    endpoint, secret, done = await services.webhook_endpoints.register(
        integrator, data.subscription(), header_key(request)
    )
    location = f"/v1/webhook-endpoints/{wire(PREFIX, endpoint.id)}"
    return Response(
        shown(endpoint, secret),
        headers={"location": location, **etag(endpoint.version), **positioned(done)},
    )


@get(
    "/v1/webhook-endpoints",
    operation_id="listWebhookEndpoints",
    tags=["Webhooks"],
    summary="List the tenant's endpoints",
    permission="webhooks.read",
    refusals=PAGE,
)
async def index(
    integrator: Integrator,
    services: Given,
    page: Cursor = None,
    limit: Limit = 50,
    min_position: MinPosition = None,
) -> WebhookEndpointPage:
    after = cursor(page)
    async with reading(services, integrator.tenant_id, view.READ_MODEL, min_position) as connection:
        found = await view.by_tenant(connection, integrator.tenant_id, after=after, limit=limit)
    return WebhookEndpointPage(items=[shown(row) for row in found.rows], next=opaque(found.next))


@get(
    "/v1/webhook-endpoints/{endpoint_id:str}",
    operation_id="getWebhookEndpoint",
    tags=["Webhooks"],
    summary="One endpoint, with its ETag",
    permission="webhooks.read",
    refusals={404: (NOT_FOUND,)},
)
async def show(
    endpoint_id: FromPath[str], integrator: Integrator, services: Given
) -> Response[WebhookEndpointShown]:
    found = path_id(PREFIX, endpoint_id, NOT_FOUND)
    endpoint = await services.webhook_endpoints.get(integrator.tenant_id, found)
    return Response(shown(endpoint), headers=etag(endpoint.version))


@patch(
    "/v1/webhook-endpoints/{endpoint_id:str}",
    operation_id="changeWebhookEndpoint",
    tags=["Webhooks"],
    summary="Change an endpoint",
    dto=StrictJSON[WebhookEndpointChange],
    return_dto=None,
    permission="webhooks.write",
    refusals=merged(
        BODY, CONDITION, WRITE, SUBSCRIPTION, {404: (NOT_FOUND,), 428: ("if_match_required",)}
    ),
)
async def change(
    endpoint_id: FromPath[str],
    data: JSONBody[WebhookEndpointChange],
    integrator: Integrator,
    services: Given,
    if_match: IfMatch = None,
) -> Response[WebhookEndpointShown]:
    found = path_id(PREFIX, endpoint_id, NOT_FOUND)
    version = expected_version(if_match, required=True)
    endpoint, done = await services.webhook_endpoints.change(integrator, found, version, data.apply)
    return Response(shown(endpoint), headers={**etag(endpoint.version), **positioned(done)})


@delete(
    "/v1/webhook-endpoints/{endpoint_id:str}",
    operation_id="deleteWebhookEndpoint",
    tags=["Webhooks"],
    summary="Be told no more",
    permission="webhooks.write",
    status_code=204,
    refusals=merged(CONDITION, WRITE, {404: (NOT_FOUND,)}),
)
async def remove(
    endpoint_id: FromPath[str], integrator: Integrator, services: Given, if_match: IfMatch = None
) -> Response[None]:
    found = path_id(PREFIX, endpoint_id, NOT_FOUND)
    version = expected_version(if_match, required=False)
    done = await services.webhook_endpoints.delete(integrator, found, version)
    return Response(None, status_code=204, headers=positioned(done))


@post(
    "/v1/webhook-endpoints/{endpoint_id:str}/rotate-secret",
    operation_id="rotateWebhookSecret",
    tags=["Webhooks"],
    summary="Get a new secret; the old one signs too for a while",
    dto=StrictJSON[SecretRotation],
    return_dto=None,
    permission="webhooks.write",
    refusals=merged(BODY, WRITE, {404: (NOT_FOUND,), 409: ("rotation_open",)}),
)
async def rotate(
    endpoint_id: FromPath[str],
    data: JSONBody[SecretRotation],
    integrator: Integrator,
    services: Given,
) -> Response[WebhookEndpointShown]:
    found = path_id(PREFIX, endpoint_id, NOT_FOUND)
    endpoint, secret, done = await services.webhook_endpoints.rotate_secret(
        integrator, found, overlap_s=data.overlap_s, force=data.force
    )
    headers = {**etag(endpoint.version), **positioned(done)}
    return Response(shown(endpoint, secret), headers=headers)


@post(
    "/v1/webhook-endpoints/{endpoint_id:str}/test",
    operation_id="testWebhookEndpoint",
    tags=["Webhooks"],
    summary="Have a test message sent to this endpoint",
    permission="webhooks.write",
    status_code=202,
    refusals=merged(WRITE, {404: (NOT_FOUND,), 409: ("webhook_endpoint_disabled",)}),
)
async def send_test(
    endpoint_id: FromPath[str], integrator: Integrator, services: Given
) -> Response[WebhookTestSent]:
    found = path_id(PREFIX, endpoint_id, NOT_FOUND)
    event, done = await services.webhook_endpoints.request_test(integrator, found)
    sent = WebhookTestSent(event_id=wire(EVENT_PREFIX, event))
    return Response(sent, status_code=202, headers=positioned(done))


@post(
    "/v1/webhook-endpoints/{endpoint_id:str}/enable",
    operation_id="enableWebhookEndpoint",
    tags=["Webhooks"],
    summary="Send again to an endpoint that was disabled",
    permission="webhooks.write",
    status_code=200,
    refusals=merged(WRITE, {404: (NOT_FOUND,)}),
)
async def enable(
    endpoint_id: FromPath[str], integrator: Integrator, services: Given
) -> Response[WebhookEndpointShown]:
    found = path_id(PREFIX, endpoint_id, NOT_FOUND)
    endpoint, done = await services.webhook_endpoints.enable(integrator, found)
    return Response(shown(endpoint), headers={**etag(endpoint.version), **positioned(done)})


@get(
    "/v1/webhook-endpoints/{endpoint_id:str}/attempts",
    operation_id="listWebhookAttempts",
    tags=["Webhooks"],
    summary="The endpoint's messages, newest first, with every try",
    permission="webhooks.read",
    refusals={400: ("invalid_request", "cursor_invalid"), 404: (NOT_FOUND,)},
)
async def attempts(
    endpoint_id: FromPath[str],
    integrator: Integrator,
    services: Given,
    in_state: StateFilter = None,
    page: Cursor = None,
    limit: Limit = 50,
) -> WebhookDeliveryPage:
    found = path_id(PREFIX, endpoint_id, NOT_FOUND)
    before = cursor(page)
    endpoint = await services.webhook_endpoints.get(integrator.tenant_id, found)
    records = await services.deliveries.at(
        integrator.tenant_id, KIND, endpoint.id, state=in_state, before=before, limit=limit + 1
    )
    listed = records[:limit]
    following = listed[-1].event.position if len(records) > limit else None
    return WebhookDeliveryPage(items=[delivery(each) for each in listed], next=opaque(following))


@post(
    "/v1/webhook-endpoints/{endpoint_id:str}/replay",
    operation_id="replayWebhooks",
    tags=["Webhooks"],
    summary="Send messages again: one, those of a time, or those that failed",
    dto=StrictJSON[Replay],
    return_dto=None,
    permission="webhooks.write",
    status_code=202,
    refusals=merged(BODY, {404: (NOT_FOUND,)}),
)
async def replay(
    endpoint_id: FromPath[str], data: JSONBody[Replay], integrator: Integrator, services: Given
) -> WebhookReplayed:
    found = path_id(PREFIX, endpoint_id, NOT_FOUND)
    which = data.which()
    endpoint = await services.webhook_endpoints.get(integrator.tenant_id, found)
    count = await services.deliveries.replay(integrator.tenant_id, KIND, endpoint.id, which)
    return WebhookReplayed(replayed=count)


HANDLERS = (
    register,
    index,
    show,
    change,
    remove,
    rotate,
    send_test,
    enable,
    attempts,
    replay,
)
