"""How a client says who it is at the OAuth endpoints, and how these say no (RFC 6749 §2.3, §5.2).

A form with each parameter once; the client in the Authorization header, in the form, or by an
assertion (RFC 7523 §2.2) or the connection's certificate (RFC 8705 §2), and in one of these ways
only.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_plus

import msgspec
from litestar import Request, Response
from litestar.openapi import ResponseSpec

from application.tenants.clients import AssertionShown, CertificateShown, SecretShown
from domain.errors import Invalid, Unauthenticated
from domain.oauth_client import OAuthClient
from interfaces.http.caller_address import budget_address
from interfaces.http.possession import certificate_of
from interfaces.http.problems import nonce_header
from interfaces.http.services import Services

AnyRequest = Request[Any, Any, Any]

TOKEN: Final = "/oauth2/token"  # noqa: S105 - a path
"""What clients take for our name is the token endpoint's, wherever they ask (RFC 7523 §3)."""

FORM: Final = "application/x-www-form-urlencoded"
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
FAILURES_PER_ADDRESS: Final = 30
REQUESTS_PER_CLIENT: Final = 6000
REQUESTS_PER_TENANT: Final = 30_000
"""In a minute, whatever they ask for. A backend needs a token every few minutes."""
PER_S: Final = 60

NOT_KEPT: Final = {"cache-control": "no-store", "pragma": "no-cache"}


class OAuthRefused(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 6749 §5.2: these endpoints speak OAuth's own error form."""

    error: str
    error_description: str


REFUSALS: Final[dict[int, ResponseSpec]] = {
    status: ResponseSpec(data_container=OAuthRefused, description=description)
    for status, description in (
        (
            400,
            "`invalid_request`, `unsupported_grant_type`, `invalid_scope`, `invalid_dpop_proof`, "
            "`use_dpop_nonce` (RFC 9449 §8; the nonce is in `DPoP-Nonce`)",
        ),
        (401, "`invalid_client`: the client is not who it says"),
        (429, "`slow_down`: too many failures from this address, or requests of this client"),
    )
}


class TooOften(Exception):
    """A budget is used up; the answer is 429 `slow_down`."""


class ClientForm(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking, where the Authorization header does not say it (RFC 6749 §2.3.1, RFC 7521
    §4.2)."""

    client_id: str | msgspec.UnsetType = msgspec.UNSET
    client_secret: str | msgspec.UnsetType = msgspec.UNSET
    client_assertion_type: str | msgspec.UnsetType = msgspec.UNSET
    client_assertion: str | msgspec.UnsetType = msgspec.UNSET


async def authenticated(
    request: AnyRequest, services: Services
) -> tuple[OAuthClient, Mapping[str, str]]:
    """The client that asks, and the form that it sent.

    Raises Invalid (`invalid_request`), Unauthenticated (`invalid_client`) and TooOften. Failures
    are counted by address, before anything is looked at; what a client asks for, by client and by
    tenant.
    """
    address = budget_address(request)
    failures = {"limit": FAILURES_PER_ADDRESS, "per_s": PER_S}
    if not await services.limiter.room("token.failures", address, **failures):
        raise TooOften
    form = _form(request, await request.body())
    audiences = {services.issuer, *(services.issuer + path for path in (TOKEN, request.url.path))}
    try:
        client = await services.clients.authenticate(_shown(request, form), audiences)
    except Unauthenticated:
        await services.limiter.hit("token.failures", address, **failures)
        raise
    requests = {"limit": REQUESTS_PER_CLIENT, "per_s": PER_S}
    if not await services.limiter.hit("token.requests", client.id.hex, **requests):
        raise TooOften
    of_tenant = {"limit": REQUESTS_PER_TENANT, "per_s": PER_S}
    if not await services.limiter.hit("token.tenant", client.tenant_id.hex, **of_tenant):
        raise TooOften
    return client, form


def refused(error: Invalid | Unauthenticated | TooOften) -> Response[Any]:
    """The answer to what `authenticated` and the endpoints raise."""
    if isinstance(error, TooOften):
        return _answer(429, "slow_down", "too many requests", {"retry-after": str(PER_S)})
    if isinstance(error, Unauthenticated):
        challenge = {"www-authenticate": 'Basic realm="link-identity"'}
        told = error.detail or "unknown client or wrong proof"
        return _answer(401, error.code, told, challenge)
    return _answer(400, error.code, error.detail or "", nonce_header(error))


def _answer(
    status: int, error: str, description: str, headers: Mapping[str, str]
) -> Response[OAuthRefused]:
    body = OAuthRefused(error=error, error_description=description)
    return Response(
        body,
        status_code=status,
        media_type="application/json",
        headers={**NOT_KEPT, **headers},
    )


def _form(request: AnyRequest, body: bytes) -> dict[str, str]:
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


def _shown(
    request: AnyRequest, form: Mapping[str, str]
) -> SecretShown | AssertionShown | CertificateShown:
    """Where nothing else is shown, the certificate of the connection is what proves it.

    Raises Invalid (`invalid_request`) and Unauthenticated (`invalid_client`).
    """
    given = request.headers.getall("authorization", [])
    ways = [bool(given), "client_secret" in form, "client_assertion" in form]
    if sum(ways) > 1 or len(given) > 1:
        raise Invalid("invalid_request", "authenticate in one way")
    if "client_assertion" in form:
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise Invalid("invalid_request", f"client_assertion_type is {ASSERTION_TYPE}")
        return AssertionShown(client_id=form.get("client_id"), assertion=form["client_assertion"])
    certificate = certificate_of(request)
    if certificate is not None and not any(ways):
        return CertificateShown(client_id=form.get("client_id", ""), certificate=certificate.der)
    if not given:
        return SecretShown(
            client_id=form.get("client_id", ""), secret=form.get("client_secret", "")
        )
    return _basic(given[0], form)


def _basic(header: str, form: Mapping[str, str]) -> SecretShown:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        raise Invalid("invalid_request", "authenticate by Basic, by the form or by an assertion")
    try:
        decoded = base64.b64decode(encoded, validate=True).decode("utf-8")
    except (binascii.Error, ValueError) as error:
        raise Unauthenticated("invalid_client") from error
    name, _, secret = decoded.partition(":")
    shown = SecretShown(client_id=unquote_plus(name), secret=unquote_plus(secret))
    if form.get("client_id", shown.client_id) != shown.client_id:
        raise Unauthenticated("invalid_client")
    return shown
