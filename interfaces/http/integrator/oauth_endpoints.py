"""What surrounds the token endpoint: is this token good, it is not wanted any more, and where all
of this stands (RFC 7662, RFC 7009, RFC 8414)."""

from typing import Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency

from application.permissions import SCOPES
from application.ports import AccessToken
from domain.errors import Invalid, Unauthenticated
from domain.ids import wire
from interfaces.http.integrator.client_authentication import (
    NOT_KEPT,
    REFUSALS,
    TOKEN,
    ClientForm,
    TooOften,
    authenticated,
    refused,
)
from interfaces.http.request_id import correlation_id
from interfaces.http.services import Services

Given = NamedDependency[Services]

INTROSPECTION: Final = "/oauth2/introspect"
REVOCATION: Final = "/oauth2/revoke"
METADATA: Final = "/.well-known/oauth-authorization-server"
BODY_MAX: Final = 16_384
TOKEN_MAX: Final = 4096


class TokenShown(ClientForm, frozen=True, kw_only=True):
    """RFC 7662 §2.1, RFC 7009 §2.1. The hint is not needed and not looked at."""

    token: str
    token_type_hint: str | msgspec.UnsetType = msgspec.UNSET


class Confirmation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the token is bound to: the thumbprint of a key (RFC 9449 §6.2), of a certificate
    (RFC 8705 §3.2), or both."""

    jkt: str | None = None
    x5t: str | None = msgspec.field(name="x5t#S256", default=None)


class Introspection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 7662 §2.2. Of a token that is not good, or not of this tenant, `active` is all."""

    active: bool
    iss: str | None = None
    aud: str | None = None
    sub: str | None = None
    client_id: str | None = None
    tenant_id: str | None = None
    scope: str | None = None
    token_type: str | None = None
    iat: int | None = None
    exp: int | None = None
    jti: str | None = None
    cnf: Confirmation | None = None


class MtlsEndpoints(msgspec.Struct, frozen=True, kw_only=True):
    """The same endpoints on the listener that asks for a client certificate (RFC 8705 §5)."""

    token_endpoint: str
    introspection_endpoint: str
    revocation_endpoint: str


class AuthorizationServer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 8414 §2, RFC 8705 §5. There is no authorization endpoint, and so no response type but
    `none`."""

    issuer: str
    token_endpoint: str
    introspection_endpoint: str
    revocation_endpoint: str
    jwks_uri: str
    service_documentation: str
    scopes_supported: tuple[str, ...]
    response_types_supported: tuple[str, ...]
    grant_types_supported: tuple[str, ...]
    token_endpoint_auth_methods_supported: tuple[str, ...]
    token_endpoint_auth_signing_alg_values_supported: tuple[str, ...]
    introspection_endpoint_auth_methods_supported: tuple[str, ...]
    introspection_endpoint_auth_signing_alg_values_supported: tuple[str, ...]
    revocation_endpoint_auth_methods_supported: tuple[str, ...]
    revocation_endpoint_auth_signing_alg_values_supported: tuple[str, ...]
    dpop_signing_alg_values_supported: tuple[str, ...]
    tls_client_certificate_bound_access_tokens: bool = False
    mtls_endpoint_aliases: MtlsEndpoints | None = None


METHODS: Final = ("client_secret_basic", "client_secret_post", "private_key_jwt")
TLS: Final = ("tls_client_auth", "self_signed_tls_client_auth")
ALGORITHMS: Final = ("ES256", "EdDSA", "Ed25519", "PS256")


@post(
    INTROSPECTION,
    operation_id="introspectToken",
    public=True,
    tags=["OAuth"],
    summary="Whether an access token of this tenant is good, and what it says",
    status_code=200,
    form=TokenShown,
    responses=REFUSALS,
    refusals={413: ("body_too_large",)},
    request_max_body_size=BODY_MAX,
)
async def introspect(request: Request[Any, Any, Any], services: Given) -> Response[Introspection]:
    try:
        client, form = await authenticated(request, services)
        token = _token(form.get("token"))
    except (Invalid, Unauthenticated, TooOften) as error:
        return refused(error)
    found = await services.issued_tokens.introspect(client, token)
    told = Introspection(active=False) if found is None else _told(found, services.issuer)
    return Response(told, headers=NOT_KEPT)


@post(
    REVOCATION,
    operation_id="revokeToken",
    public=True,
    tags=["OAuth"],
    summary="Give an access token back; the answer is the same whatever it was",
    status_code=200,
    media_type="text/plain",
    form=TokenShown,
    responses=REFUSALS,
    refusals={413: ("body_too_large",), 409: ("conflict",), 503: ("commit_failed",)},
    request_max_body_size=BODY_MAX,
)
async def revoke(request: Request[Any, Any, Any], services: Given) -> Response[None]:
    try:
        client, form = await authenticated(request, services)
        token = _token(form.get("token"))
    except (Invalid, Unauthenticated, TooOften) as error:
        return refused(error)
    await services.issued_tokens.revoke(client, token, correlation_id(request))
    return Response(None, headers=NOT_KEPT)


@get(
    METADATA,
    operation_id="getAuthorizationServer",
    public=True,
    tags=["OAuth"],
    summary="Where the OAuth endpoints are and what they take (RFC 8414)",
)
async def metadata(services: Given) -> Response[AuthorizationServer]:
    issuer, mtls = services.issuer, services.mtls_url
    methods = METHODS if mtls is None else (*METHODS, *TLS)
    told = AuthorizationServer(
        issuer=issuer,
        token_endpoint=issuer + TOKEN,
        introspection_endpoint=issuer + INTROSPECTION,
        revocation_endpoint=issuer + REVOCATION,
        jwks_uri=f"{issuer}/.well-known/jwks.json",
        service_documentation=f"{issuer}/openapi.json",
        scopes_supported=tuple(sorted(SCOPES)),
        response_types_supported=("none",),
        grant_types_supported=("client_credentials",),
        token_endpoint_auth_methods_supported=methods,
        token_endpoint_auth_signing_alg_values_supported=ALGORITHMS,
        introspection_endpoint_auth_methods_supported=methods,
        introspection_endpoint_auth_signing_alg_values_supported=ALGORITHMS,
        revocation_endpoint_auth_methods_supported=methods,
        revocation_endpoint_auth_signing_alg_values_supported=ALGORITHMS,
        dpop_signing_alg_values_supported=ALGORITHMS,
        tls_client_certificate_bound_access_tokens=mtls is not None,
        mtls_endpoint_aliases=None
        if mtls is None
        else MtlsEndpoints(
            token_endpoint=mtls + TOKEN,
            introspection_endpoint=mtls + INTROSPECTION,
            revocation_endpoint=mtls + REVOCATION,
        ),
    )
    return Response(told, headers={"cache-control": "public, max-age=300"})


def _token(given: str | None) -> str:
    """Raises Invalid (`invalid_request`)."""
    if not given or len(given) > TOKEN_MAX:
        raise Invalid("invalid_request", f"token is one access token of at most {TOKEN_MAX}")
    return given


def _told(token: AccessToken, issuer: str) -> Introspection:
    client = wire("cli", token.client_id)
    bound = token.bound_to is not None or token.certificate is not None
    return Introspection(
        active=True,
        iss=issuer,
        aud=issuer,
        sub=client,
        client_id=client,
        tenant_id=wire("ten", token.tenant_id),
        scope=" ".join(sorted(token.scopes)),
        token_type="Bearer" if token.bound_to is None else "DPoP",
        iat=int(token.issued_at.timestamp()),
        exp=int(token.expires_at.timestamp()),
        jti=token.jti,
        cnf=Confirmation(jkt=token.bound_to, x5t=token.certificate) if bound else None,
    )


HANDLERS = (introspect, revoke, metadata)
