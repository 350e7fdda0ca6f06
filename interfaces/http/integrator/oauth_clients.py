"""`/v1/oauth-clients`: the tenant's backends, what they may do and how they prove themselves."""

from typing import Any, Final

from litestar import Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from application.principals import Manager
from application.tenants.oauth_clients import Changed
from domain.ids import wire
from interfaces.http.integrator.oauth_client_shapes import (
    PREFIX,
    NewOAuthClient,
    OAuthClientChange,
    OAuthClientPage,
    OAuthClientShown,
    SecretRetirement,
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
from projections import oauth_clients as view

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

NOT_FOUND: Final = "oauth_client_not_found"
HELD: Final[Refusals] = {403: ("scope_not_held",), 404: (NOT_FOUND,)}
METADATA: Final[Refusals] = {
    422: (
        "scope_unknown",
        "client_name_invalid",
        "client_keys_invalid",
        "url_invalid",
        "url_scheme_forbidden",
        "url_forbidden",
    )
}


def _answer(changed: Changed, status: int = 200) -> Response[OAuthClientShown]:
    headers = {
        **etag(changed.client.version),
        **positioned(changed.done),
        "cache-control": "no-store",
    }
    return Response(shown(changed.client, changed.secret), status_code=status, headers=headers)


@post(
    "/v1/oauth-clients",
    operation_id="registerOAuthClient",
    tags=["OAuth"],
    summary="Register a backend, with no more scopes than the caller holds",
    dto=StrictJSON[NewOAuthClient],
    return_dto=None,
    permission="oauth_clients.write",
    refusals=merged(
        BODY,
        KEY,
        WRITE,
        METADATA,
        {
            403: ("scope_not_held",),
            409: ("too_many_oauth_clients",),
            503: ("position_not_reached",),
        },
    ),
)
async def register(
    request: Request[Any, Any, Any],
    data: JSONBody[NewOAuthClient],
    integrator: Integrator,
    services: Given,
    idempotency_key: IdempotencyKey = None,
) -> Response[OAuthClientShown]:
    del idempotency_key  # declared for OpenAPI; read from the raw headers to see a second one
    made = await services.oauth_clients.register(integrator, data.metadata(), header_key(request))
    answer = _answer(made, 201)
    answer.headers["location"] = f"/v1/oauth-clients/{wire(PREFIX, made.client.id)}"
    return answer


@get(
    "/v1/oauth-clients",
    operation_id="listOAuthClients",
    tags=["OAuth"],
    summary="List the tenant's clients",
    permission="oauth_clients.read",
    refusals=PAGE,
)
async def index(
    integrator: Integrator,
    services: Given,
    page: Cursor = None,
    limit: Limit = 50,
    min_position: MinPosition = None,
) -> OAuthClientPage:
    after = cursor(page)
    async with reading(services, integrator.tenant_id, view.READ_MODEL, min_position) as connection:
        found = await view.by_tenant(connection, integrator.tenant_id, after=after, limit=limit)
    return OAuthClientPage(items=[shown(row) for row in found.rows], next=opaque(found.next))


@get(
    "/v1/oauth-clients/{client_id:str}",
    operation_id="getOAuthClient",
    tags=["OAuth"],
    summary="One client, with its ETag",
    permission="oauth_clients.read",
    refusals={404: (NOT_FOUND,)},
)
async def show(
    client_id: FromPath[str], integrator: Integrator, services: Given
) -> Response[OAuthClientShown]:
    found = path_id(PREFIX, client_id, NOT_FOUND)
    client = await services.oauth_clients.get(integrator.tenant_id, found)
    return Response(shown(client), headers=etag(client.version))


@patch(
    "/v1/oauth-clients/{client_id:str}",
    operation_id="changeOAuthClient",
    tags=["OAuth"],
    summary="Change a client",
    dto=StrictJSON[OAuthClientChange],
    return_dto=None,
    permission="oauth_clients.write",
    refusals=merged(BODY, CONDITION, WRITE, METADATA, HELD, {428: ("if_match_required",)}),
)
async def change(
    client_id: FromPath[str],
    data: JSONBody[OAuthClientChange],
    integrator: Integrator,
    services: Given,
    if_match: IfMatch = None,
) -> Response[OAuthClientShown]:
    found = path_id(PREFIX, client_id, NOT_FOUND)
    version = expected_version(if_match, required=True)
    return _answer(await services.oauth_clients.change(integrator, found, version, data.apply))


@delete(
    "/v1/oauth-clients/{client_id:str}",
    operation_id="deleteOAuthClient",
    tags=["OAuth"],
    summary="End a client and its tokens for good",
    permission="oauth_clients.write",
    status_code=204,
    refusals=merged(CONDITION, WRITE, HELD),
)
async def remove(
    client_id: FromPath[str], integrator: Integrator, services: Given, if_match: IfMatch = None
) -> Response[None]:
    found = path_id(PREFIX, client_id, NOT_FOUND)
    version = expected_version(if_match, required=False)
    done = await services.oauth_clients.delete(integrator, found, version)
    return Response(None, status_code=204, headers=positioned(done))


@post(
    "/v1/oauth-clients/{client_id:str}/suspend",
    operation_id="suspendOAuthClient",
    tags=["OAuth"],
    summary="Have a client's tokens open nothing from now on",
    permission="oauth_clients.write",
    status_code=200,
    refusals=merged(WRITE, HELD),
)
async def suspend(
    client_id: FromPath[str], integrator: Integrator, services: Given
) -> Response[OAuthClientShown]:
    found = path_id(PREFIX, client_id, NOT_FOUND)
    return _answer(await services.oauth_clients.suspend(integrator, found))


@post(
    "/v1/oauth-clients/{client_id:str}/resume",
    operation_id="resumeOAuthClient",
    tags=["OAuth"],
    summary="Serve a suspended client again",
    permission="oauth_clients.write",
    status_code=200,
    refusals=merged(WRITE, HELD),
)
async def resume(
    client_id: FromPath[str], integrator: Integrator, services: Given
) -> Response[OAuthClientShown]:
    found = path_id(PREFIX, client_id, NOT_FOUND)
    return _answer(await services.oauth_clients.resume(integrator, found))


@post(
    "/v1/oauth-clients/{client_id:str}/secrets",
    operation_id="addOAuthClientSecret",
    tags=["OAuth"],
    summary="Get a second secret, to be used before the first is retired",
    permission="oauth_clients.write",
    refusals=merged(WRITE, HELD, {409: ("client_has_no_secrets", "too_many_secrets")}),
)
async def add_secret(
    client_id: FromPath[str], integrator: Integrator, services: Given
) -> Response[OAuthClientShown]:
    found = path_id(PREFIX, client_id, NOT_FOUND)
    return _answer(await services.oauth_clients.add_secret(integrator, found), 201)


@post(
    "/v1/oauth-clients/{client_id:str}/retire-secret",
    operation_id="retireOAuthClientSecret",
    tags=["OAuth"],
    summary="Have a secret prove nothing any more",
    dto=StrictJSON[SecretRetirement],
    return_dto=None,
    permission="oauth_clients.write",
    status_code=200,
    refusals=merged(BODY, WRITE, HELD, {404: ("client_secret_not_found",)}),
)
async def retire_secret(
    client_id: FromPath[str],
    data: JSONBody[SecretRetirement],
    integrator: Integrator,
    services: Given,
) -> Response[OAuthClientShown]:
    found = path_id(PREFIX, client_id, NOT_FOUND)
    return _answer(await services.oauth_clients.retire_secret(integrator, found, data.secret))


HANDLERS = (
    register,
    index,
    show,
    change,
    remove,
    suspend,
    resume,
    add_secret,
    retire_secret,
)
