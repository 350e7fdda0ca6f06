"""`POST /oauth2/token`: an integrator's backend trades its secret for a token (RFC 6749 §4.4)."""

import base64
import binascii
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, unquote_plus

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec

from domain import tenant as t
from domain.errors import Invalid, Unauthenticated
from domain.ids import PLATFORM
from interfaces.http.caller_address import budget_address
from interfaces.http.services import Services

FAILURES_PER_ADDRESS: Final = 30
FORM: Final = "application/x-www-form-urlencoded"

Given = NamedDependency[Services]


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 6749 §5.1."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str


class TokenRefused(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 6749 §5.2: this endpoint speaks OAuth's own error form."""

    error: str
    error_description: str


_REFUSALS: Final[dict[int, ResponseSpec]] = {
    status: ResponseSpec(data_container=TokenRefused, description=description)
    for status, description in (
        (400, "`invalid_request`, `unsupported_grant_type`, `invalid_scope`"),
        (401, "`invalid_client`: the client is not who it says"),
        (429, "`slow_down`: too many failures from this address"),
    )
}


class TokenForm(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 6749 §4.4.2; the client's id and secret may stand in the Authorization header."""

    grant_type: Literal["client_credentials"]
    client_id: str | msgspec.UnsetType = msgspec.UNSET
    client_secret: str | msgspec.UnsetType = msgspec.UNSET
    scope: str | msgspec.UnsetType = msgspec.UNSET


@post(
    "/oauth2/token",
    operation_id="issueToken",
    public=True,
    tags=["OAuth"],
    summary="Issue an access token for client_credentials",
    status_code=200,
    form=TokenForm,
    responses=_REFUSALS,
    refusals={413: ("body_too_large",)},
    request_max_body_size=8192,
)
async def token(request: Request[Any, Any, Any], services: Given) -> Response[Token]:
    address = budget_address(request)
    budget = {"limit": FAILURES_PER_ADDRESS, "per_s": 60}
    if not await services.limiter.room("token.failures", address, **budget):
        return _refused(429, "slow_down", "too many failures", {"retry-after": "60"})
    try:
        form = _form(request, await request.body())
        if form.get("grant_type") != "client_credentials":
            return _refused(400, "unsupported_grant_type", "only client_credentials")
        client_id, secret = _credentials(request, form)
        grant = await services.clients.grant(client_id, secret, form.get("scope"))
    except Unauthenticated as error:
        await services.limiter.hit("token.failures", address, **budget)
        challenge = {"www-authenticate": 'Basic realm="link-identity"'}
        return _refused(401, error.code, "unknown client or wrong secret", challenge)
    except Invalid as error:
        return _refused(400, error.code, error.detail or "")
    tenant = await services.streams.state(grant.tenant_id, grant.tenant_id, t.rebuild)
    assert tenant is not None or grant.tenant_id == PLATFORM, "a client belongs to a tenant"
    settings = t.TenantSettings() if tenant is None else tenant.settings
    issued = services.access_tokens.issue(
        grant.tenant_id, grant.client_id, grant.scopes, settings.access_token_s
    )
    body = Token(
        access_token=issued.access_token,
        token_type="Bearer",  # noqa: S106 - the scheme's name (RFC 6750), not a secret
        expires_in=issued.expires_in,
        scope=issued.scope,
    )
    return Response(body, headers={"cache-control": "no-store", "pragma": "no-cache"})


def _form(request: Request[Any, Any, Any], body: bytes) -> dict[str, str]:
    """Raises Invalid (`invalid_request`): a parameter twice is none (RFC 6749 §3.2)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        raise Invalid("invalid_request", f"send {FORM}")
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=16
        )
    except ValueError as error:
        raise Invalid("invalid_request", "the form cannot be read") from error
    form = dict(pairs)
    if len(form) != len(pairs) or any(not value.isprintable() for value in form.values()):
        raise Invalid("invalid_request", "a parameter stands twice or is not text")
    return form


def _credentials(request: Request[Any, Any, Any], form: dict[str, str]) -> tuple[str, str]:
    """From the Authorization header or the form, not both (RFC 6749 §2.3)."""
    header = request.headers.get("authorization")
    if header is None:
        return form.get("client_id", ""), form.get("client_secret", "")
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic" or "client_secret" in form:
        raise Invalid("invalid_request", "authenticate in one way")
    try:
        decoded = base64.b64decode(encoded, validate=True).decode("utf-8")
    except (binascii.Error, ValueError) as error:
        raise Unauthenticated("invalid_client") from error
    client_id, _, secret = decoded.partition(":")
    return unquote_plus(client_id), unquote_plus(secret)


def _refused(
    status: int, error: str, description: str, headers: dict[str, str] | None = None
) -> Response[Any]:
    body = TokenRefused(error=error, error_description=description)
    return Response(
        body, status_code=status, headers={"cache-control": "no-store", **(headers or {})}
    )


HANDLERS = (token,)
