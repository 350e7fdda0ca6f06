"""`POST /oauth2/token`: an integrator's backend proves itself and gets a token (RFC 6749 §4.4)."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec

from application.clients import Grant, grant
from domain import tenant as t
from domain.errors import Invalid, Unauthenticated
from domain.ids import PLATFORM
from domain.oauth_client import OAuthClient
from interfaces.http.integrator.client_authentication import (
    NOT_KEPT,
    TOKEN,
    ClientForm,
    OAuthRefused,
    TooOften,
    authenticated,
    refused,
)
from interfaces.http.services import Services

Given = NamedDependency[Services]


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 6749 §5.1."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str


REFUSALS: Final[dict[int, ResponseSpec]] = {
    status: ResponseSpec(data_container=OAuthRefused, description=description)
    for status, description in (
        (400, "`invalid_request`, `unsupported_grant_type`, `invalid_scope`"),
        (401, "`invalid_client`: the client is not who it says"),
        (429, "`slow_down`: too many failures from this address, or requests of this client"),
    )
}


class TokenForm(ClientForm, frozen=True, kw_only=True):
    """RFC 6749 §4.4.2; the client's id and secret may stand in the Authorization header."""

    grant_type: Literal["client_credentials"]
    scope: str | msgspec.UnsetType = msgspec.UNSET


@post(
    TOKEN,
    operation_id="issueToken",
    public=True,
    tags=["OAuth"],
    summary="Issue an access token for client_credentials",
    status_code=200,
    form=TokenForm,
    responses=REFUSALS,
    refusals={413: ("body_too_large",)},
    request_max_body_size=8192,
)
async def token(request: Request[Any, Any, Any], services: Given) -> Response[Token]:
    try:
        granted = _granted(*await authenticated(request, services))
    except (Invalid, Unauthenticated, TooOften) as error:
        return refused(error)
    tenant = await services.streams.state(granted.tenant_id, granted.tenant_id, t.rebuild)
    assert tenant is not None or granted.tenant_id == PLATFORM, "a client belongs to a tenant"
    settings = t.TenantSettings() if tenant is None else tenant.settings
    issued = services.access_tokens.issue(
        granted.tenant_id, granted.client_id, granted.scopes, settings.access_token_s
    )
    body = Token(
        access_token=issued.access_token,
        token_type="Bearer",  # noqa: S106 - the scheme's name (RFC 6750), not a secret
        expires_in=issued.expires_in,
        scope=issued.scope,
    )
    return Response(body, headers=NOT_KEPT)


def _granted(client: OAuthClient, form: Mapping[str, str]) -> Grant:
    """Raises Invalid: `unsupported_grant_type`, `invalid_scope`."""
    if form.get("grant_type") != "client_credentials":
        raise Invalid("unsupported_grant_type", "only client_credentials")
    return grant(client, form.get("scope"))


HANDLERS = (token,)
