"""Who is asking: a certificate or a token becomes a principal, on every request (003 §3.7).

It happens before a byte of the body is read, so nobody unknown makes us parse anything. What a
route asks of its caller stands on the route itself: `permission` for backends and console people,
`device_operation` for devices, `user=True` for people, `console=True` for what a console person
does with their own account, `public=True` for everybody. A route that says nothing of it is not
built.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, cast

import msgspec
from litestar import Request
from litestar.di import NamedDependency

from application.console.sessions import TOKEN_PREFIX, OperatorSessions
from application.execute import stream_of
from application.people.user_sessions import UserSessions
from application.permissions import (
    PLATFORM_WIDE,
    DeviceOperation,
    Permission,
    require,
    require_device,
)
from application.ports import Clock, DpopProofs, Streams
from application.principals import (
    DevicePrincipal,
    IntegratorPrincipal,
    Manager,
    OperatorPrincipal,
    UserPrincipal,
    client_actor,
    device_actor,
)
from application.tenants.issued_tokens import IssuedTokens
from domain import device as d
from domain import tenant as t
from domain.errors import Forbidden, Malformed, NotFound, Unauthenticated
from domain.ids import PLATFORM, ApprovalId, TenantId, parse
from domain.spiffe import read_device_uri
from interfaces.http.admission import TenantPlaces
from interfaces.http.parameters import check_query
from interfaces.http.possession import certificate_of, proved_by
from interfaces.http.request_id import correlation_id, of_scope
from interfaces.http.services import Services

TOKEN_MAX: Final = 4096
ASKED: Final = ("permission", "device_operation", "user", "console", "public")
TENANT_HEADER: Final = "Link-Tenant"
APPROVAL_HEADER: Final = "Approval-Id"

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
    console: OperatorSessions,
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
        principal: DevicePrincipal | Manager | UserPrincipal | None = None
        if "device_operation" in opt:
            operation = cast("DeviceOperation", opt["device_operation"])
            principal = await _device(request.scope, streams, trust_domain, operation, clock)
        elif "permission" in opt:
            permission = cast("Permission", opt["permission"])
            if _of_console(request):
                principal = await _manager(request, console, streams, permission)
            else:
                principal = await _integrator(request, issued_tokens, proofs, issuer, permission)
        elif "user" in opt:
            principal = await _person(request, user_sessions, proofs, issuer)
        elif "console" in opt:
            principal = await _operator(request, console)
        if principal is not None:
            state: dict[str, Any] = request.scope["state"]
            state[_PRINCIPAL] = principal
            places.enter(principal.tenant_id, state)
        check_query(request.scope["query_string"])

    return admit


def device_door(
    streams: Streams, places: TenantPlaces, trust_domain: str, clock: Clock
) -> Callable[[MutableMapping[str, Any], DeviceOperation], Awaitable[DevicePrincipal]]:
    """The same for a request that no framework has looked at, and for devices alone."""

    async def admit(scope: MutableMapping[str, Any], operation: DeviceOperation) -> DevicePrincipal:
        principal = await _device(scope, streams, trust_domain, operation, clock)
        places.enter(principal.tenant_id, scope["state"])
        check_query(scope["query_string"])
        return principal

    return admit


def integrator(request: AnyRequest, services: Given) -> Manager:
    """Whom the door let in; there is nobody on a route that has no `permission`.

    `services` is asked for and not used: Litestar provides what depends on each other in turn,
    and starts a group of tasks for what does not, at twice the cost of the rest of its work.
    """
    del services
    found: Manager = request.scope["state"][_PRINCIPAL]
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


def operator(request: AnyRequest, services: Given) -> OperatorPrincipal:
    """Whom the door let in; there is nobody on a route that has no `console`.

    `services` is asked for as in `integrator`.
    """
    del services
    found: OperatorPrincipal = request.scope["state"][_PRINCIPAL]
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


def _approval(request: AnyRequest) -> ApprovalId | None:
    """What somebody else agreed to; one that cannot be read is none."""
    found = parse("apr", request.headers.get(APPROVAL_HEADER, ""))
    return None if found is None else ApprovalId(found)


def _of_console(request: AnyRequest) -> bool:
    """Whether what is shown claims to be the token of a console session."""
    given = request.headers.getall("authorization", [])
    return len(given) == 1 and given[0].partition(" ")[2].startswith(TOKEN_PREFIX)


async def _operator(request: AnyRequest, console: OperatorSessions) -> OperatorPrincipal:
    """Raises Unauthenticated (`token_missing`, `token_invalid`)."""
    _, token = _token(request, ("bearer",))
    return await console.authenticate(token, correlation_id(request))


async def _manager(
    request: AnyRequest, console: OperatorSessions, streams: Streams, permission: Permission
) -> OperatorPrincipal:
    """A console person who manages a tenant: their own, or which a Platform Admin names.

    Raises Unauthenticated (`token_missing`, `token_invalid`), Forbidden (`console_setup_required`,
    `insufficient_scope`), NotFound (`tenant_not_found`) and Malformed (`tenant_not_named`).
    """
    principal = await _operator(request, console)
    if principal.pending:
        todo = ", ".join(principal.pending)
        raise Forbidden("console_setup_required", f"first: {todo}, at /v1/console")
    require(principal, permission)
    return msgspec.structs.replace(
        principal,
        tenant_id=await _where(request, principal, streams, permission),
        approval_id=_approval(request),
    )


async def _where(
    request: AnyRequest, principal: OperatorPrincipal, streams: Streams, permission: Permission
) -> TenantId:
    """In which tenant a console person acts."""
    named = request.headers.getall(TENANT_HEADER, [])
    tenant_id = principal.home
    if named:
        found = parse("ten", named[0]) if len(named) == 1 else None
        if found is None:
            raise NotFound("tenant_not_found")
        tenant_id = TenantId(found)
    if tenant_id == principal.home == PLATFORM:
        if permission not in PLATFORM_WIDE:
            raise Malformed("tenant_not_named", f"send {TENANT_HEADER} with a tenant's id")
    elif tenant_id != principal.home and (
        principal.home != PLATFORM
        or await streams.state(tenant_id, tenant_id, _tenant_stream) is None
    ):
        raise NotFound("tenant_not_found")
    return tenant_id


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
        approval_id=_approval(request),
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
    scope: Mapping[str, Any],
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
    extensions = cast("dict[str, Any]", scope.get("extensions") or {})
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
        correlation_id=of_scope(scope),
        device_id=identity.device_id,
        fingerprint=fingerprint,
    )
