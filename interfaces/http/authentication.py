"""Who is asking: a certificate or a token becomes a principal, on every request (003 §3.7).

It happens before a byte of the body is read, so nobody unknown makes us parse anything. What a
route asks of its caller stands on the route itself: `permission` for integrators,
`device_operation` for devices, `user=True` for people, `public=True` for everybody. A route that
says nothing of it is not built.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

from litestar import Request
from litestar.di import NamedDependency

from application.execute import stream_of
from application.people.user_sessions import UserSessions
from application.permissions import DeviceOperation, Permission, require, require_device
from application.ports import Clock, DpopProofs, Streams
from application.principals import (
    DevicePrincipal,
    IntegratorPrincipal,
    UserPrincipal,
    client_actor,
    device_actor,
)
from application.tenants.issued_tokens import IssuedTokens
from domain import device as d
from domain import tenant as t
from domain.errors import Forbidden, Unauthenticated
from domain.spiffe import read_device_uri
from interfaces.http.admission import TenantPlaces
from interfaces.http.parameters import check_query
from interfaces.http.possession import certificate_of, proved_by
from interfaces.http.request_id import correlation_id
from interfaces.http.services import Services

TOKEN_MAX: Final = 4096
ASKED: Final = ("permission", "device_operation", "user", "public")

_PRINCIPAL: Final = "link_principal"

_device_stream: Final = stream_of(d.DeviceRegistered, d.rebuild)
_tenant_stream: Final = stream_of(t.TenantCreated, t.rebuild)

AnyRequest = Request[Any, Any, Any]
Given = NamedDependency[Services]


class RouteUnguarded(Exception):
    """A route does not say, or says twice, who may call it."""


def check_guarded(operation_id: str, opt: Mapping[str, Any]) -> None:
    """Raises RouteUnguarded."""
    if sum(name in opt for name in ASKED) != 1:
        raise RouteUnguarded(f"{operation_id} needs exactly one of {', '.join(ASKED)}")


def door(
    issued_tokens: IssuedTokens,
    proofs: DpopProofs,
    issuer: str,
    user_sessions: UserSessions,
    streams: Streams,
    places: TenantPlaces,
    trust_domain: str,
    clock: Clock,
) -> Callable[[AnyRequest], Awaitable[None]]:
    """What runs before every handler: let in whom the route is for, and remember who it is.

    Whoever is known takes one of the tenant's places. Raises TooMany (`tenant_at_capacity`).
    What was sent is looked at afterwards, the query first.
    """

    async def admit(request: AnyRequest) -> None:
        opt: Mapping[str, Any] = request.route_handler.opt
        principal: DevicePrincipal | IntegratorPrincipal | UserPrincipal | None = None
        if "device_operation" in opt:
            operation = cast("DeviceOperation", opt["device_operation"])
            principal = await _device(request, streams, trust_domain, operation, clock)
        elif "permission" in opt:
            permission = cast("Permission", opt["permission"])
            principal = await _integrator(request, issued_tokens, proofs, issuer, permission)
        elif "user" in opt:
            principal = await _person(request, user_sessions, proofs, issuer)
        if principal is not None:
            state: dict[str, Any] = request.scope["state"]
            state[_PRINCIPAL] = principal
            places.enter(principal.tenant_id, state)
        check_query(request.scope["query_string"])

    return admit


def integrator(request: AnyRequest, services: Given) -> IntegratorPrincipal:
    """Whom the door let in; there is nobody on a route that has no `permission`.

    `services` is asked for and not used: Litestar provides what depends on each other in turn,
    and starts a group of tasks for what does not, at twice the cost of the rest of its work.
    """
    del services
    found: IntegratorPrincipal = request.scope["state"][_PRINCIPAL]
    return found


def device(request: AnyRequest, services: Given) -> DevicePrincipal:
    """Whom the door let in; there is nobody on a route that has no `device_operation`.

    `services` is asked for as in `integrator`.
    """
    del services
    found: DevicePrincipal = request.scope["state"][_PRINCIPAL]
    return found


def person(request: AnyRequest, services: Given) -> UserPrincipal:
    """Whom the door let in; there is nobody on a route that has no `user`.

    `services` is asked for as in `integrator`.
    """
    del services
    found: UserPrincipal = request.scope["state"][_PRINCIPAL]
    return found


def _token(request: AnyRequest, schemes: tuple[str, ...]) -> tuple[str, str]:
    """The scheme, in lower case, and the token. Raises Unauthenticated (`token_missing`,
    `token_invalid`)."""
    given = request.headers.getall("authorization", [])
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    if scheme.lower() not in schemes or not token:
        raise Unauthenticated("token_missing", "send Authorization: Bearer <access token>")
    if len(token) > TOKEN_MAX:
        raise Unauthenticated("token_invalid")
    return scheme.lower(), token


async def _integrator(
    request: AnyRequest,
    issued_tokens: IssuedTokens,
    proofs: DpopProofs,
    issuer: str,
    permission: Permission,
) -> IntegratorPrincipal:
    """The client behind an access token, allowed to do what the route asks for.

    A token that is bound to a key comes with the scheme DPoP and a proof by that key (RFC 9449
    §7.1); it is no bearer's, and a bearer's token gains nothing by a proof. One that is bound to a
    certificate opens what comes over connections with it (RFC 8705 §3). Raises
    Unauthenticated (`token_missing`, `token_invalid`, `token_expired`, `invalid_dpop_proof`) and
    Forbidden (`insufficient_scope`, `tenant_suspended`). A client's tokens stop with the client.
    """
    scheme, token = _token(request, ("bearer", "dpop"))
    verified, client = await issued_tokens.good(token)
    if (verified.bound_to is not None) != (scheme == "dpop"):
        raise Unauthenticated("token_invalid")
    if verified.certificate is not None:
        shown = certificate_of(request)
        if shown is None or shown.thumbprint != verified.certificate:
            raise Unauthenticated("token_invalid", "this token is bound to a client certificate")
    if verified.bound_to is not None:
        proved = await proved_by(request, proofs, issuer, verified.tenant_id, token)
        if proved != verified.bound_to:
            raise Unauthenticated("invalid_dpop_proof", "no proof by the key of this token")
    principal = IntegratorPrincipal(
        tenant_id=verified.tenant_id,
        actor=client_actor(verified.client_id),
        correlation_id=correlation_id(request),
        client_id=verified.client_id,
        scopes=verified.scopes & client.scopes,
    )
    require(principal, permission)
    return principal


async def _person(
    request: AnyRequest, user_sessions: UserSessions, proofs: DpopProofs, issuer: str
) -> UserPrincipal:
    """The person behind an access token, whose key proves it where the session is bound to one.

    Raises Unauthenticated (`token_missing`, `token_invalid`, `token_expired`,
    `invalid_dpop_proof`).
    """
    scheme, token = _token(request, ("bearer", "dpop"))
    found = await user_sessions.authenticate(token, correlation_id(request))
    if (found.key_thumbprint is not None) != (scheme == "dpop"):
        raise Unauthenticated("token_invalid")
    if found.key_thumbprint is not None:
        proved = await proved_by(request, proofs, issuer, found.tenant_id, token)
        if proved != found.key_thumbprint:
            raise Unauthenticated("invalid_dpop_proof", "no proof by the key of this token")
    return found


async def _device(
    request: AnyRequest,
    streams: Streams,
    trust_domain: str,
    operation: DeviceOperation,
    clock: Clock,
) -> DevicePrincipal:
    """The device behind this connection's certificate, checked again on every request.

    Certificate, device and tenant must agree. Raises Unauthenticated
    (`client_certificate_required`, `device_unknown`) and Forbidden (`device_revoked`,
    `device_type_not_allowed`, `tenant_suspended`, `device_locked`).
    """
    extensions = cast("dict[str, Any]", request.scope.get("extensions") or {})
    tls = cast("dict[str, Any] | None", extensions.get("tls"))
    if tls is None:
        raise Unauthenticated("client_certificate_required")
    uris = cast("tuple[str, ...]", tls["san_uris"])
    identity = read_device_uri(trust_domain, uris[0]) if len(uris) == 1 else None
    if identity is None:
        raise Unauthenticated("device_unknown")
    state = await streams.state(identity.tenant_id, identity.device_id, _device_stream)
    tenant = await streams.state(identity.tenant_id, identity.tenant_id, _tenant_stream)
    if state is None or tenant is None or state.tenant_id != identity.tenant_id:
        raise Unauthenticated("device_unknown")
    fingerprint = cast("str", tls["fingerprint"])
    if state.status == "revoked":
        raise Forbidden("device_revoked")
    # The handshake looks at its end once; a connection that is kept busy may live for months.
    if not state.holds(fingerprint, clock.now()):
        raise Unauthenticated("device_unknown")
    if tenant.status in ("deleting", "deleted"):
        raise Unauthenticated("device_unknown")
    require_device(state, operation, served=tenant.status == "active")
    return DevicePrincipal(
        tenant_id=identity.tenant_id,
        actor=device_actor(identity.device_id),
        correlation_id=correlation_id(request),
        device_id=identity.device_id,
        fingerprint=fingerprint,
    )
