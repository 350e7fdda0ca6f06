"""`POST /oauth2/token`: an integrator's backend proves itself and gets a token (RFC 6749 §4.4)."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency

from application.tenants.clients import Grant, grant
from domain import tenant as t
from domain.errors import Invalid, Unauthenticated
from domain.ids import PLATFORM
from domain.oauth_client import OAuthClient
from interfaces.http.integrator.client_authentication import (
    NOT_KEPT,
    REFUSALS,
    TOKEN,
    ClientForm,
    TooOften,
    authenticated,
    refused,
)
from interfaces.http.possession import certificate_of, proved_by
from interfaces.http.services import Services

Given = NamedDependency[Services]


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 6749 §5.1."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str


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
        client, form = await authenticated(request, services)
        granted = _granted(client, form)
        bound_to = await _bound_to(request, services, client)
    except (Invalid, Unauthenticated, TooOften) as error:
        return refused(error)
    tenant = await services.streams.state(granted.tenant_id, granted.tenant_id, t.rebuild)
    assert tenant is not None or granted.tenant_id == PLATFORM, "a client belongs to a tenant"
    settings = t.TenantSettings() if tenant is None else tenant.settings
    certificate = certificate_of(request)
    issued = services.access_tokens.issue(
        granted.tenant_id,
        granted.client_id,
        granted.scopes,
        settings.access_token_s,
        bound_to=bound_to,
        certificate=None if certificate is None else certificate.thumbprint,
    )
    body = Token(
        access_token=issued.access_token,
        token_type="Bearer" if bound_to is None else "DPoP",
        expires_in=issued.expires_in,
        scope=issued.scope,
    )
    return Response(body, headers=NOT_KEPT)


def _granted(client: OAuthClient, form: Mapping[str, str]) -> Grant:
    """Raises Invalid: `unsupported_grant_type`, `invalid_scope`."""
    if form.get("grant_type") != "client_credentials":
        raise Invalid("unsupported_grant_type", "only client_credentials")
    return grant(client, form.get("scope"))


async def _bound_to(
    request: Request[Any, Any, Any], services: Services, client: OAuthClient
) -> str | None:
    """The key to bind the token to: that of the proof which came along (RFC 9449 §5).

    Raises Invalid (`use_dpop_nonce`, `invalid_dpop_proof`), the latter also where the client takes
    no other tokens.
    """
    try:
        proved = await proved_by(
            request, services.dpop_proofs, services.issuer, client.tenant_id, None
        )
    except Unauthenticated as error:
        told = error.detail or "the proof does not hold"
        raise Invalid(error.code, told, extra=error.extra) from error
    if proved is None and client.metadata.dpop_bound:
        raise Invalid("invalid_dpop_proof", "this client's tokens are bound to a key")
    return proved


HANDLERS = (token,)
