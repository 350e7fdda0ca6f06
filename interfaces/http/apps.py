"""The two applications: what anybody may reach, and what only a device certificate opens."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import msgspec
from litestar import Litestar
from litestar.di import Provide
from litestar.handlers import ASGIRouteHandler, BaseRouteHandler, HTTPRouteHandler
from litestar.types import Message, Scope

from interfaces.http import authentication, pki, problems, request_id, wellknown
from interfaces.http import openapi as docs
from interfaces.http.admission import BEGAN
from interfaces.http.bare_answers import ASGIApp
from interfaces.http.console import account, passkey_sign_in, passkeys, sign_in
from interfaces.http.device import challenges as device_challenges
from interfaces.http.device import direct, heartbeat, journal, pairing, recovery, renewal, signup
from interfaces.http.device import transactions as device_transactions
from interfaces.http.integrator import (
    accesses,
    approvals,
    audit,
    audit_stream,
    breakers,
    certification,
    challenges,
    comparisons,
    consents,
    data_subject_requests,
    device_batches,
    device_cas,
    device_commands,
    devices,
    enrollments,
    explanation,
    health,
    linked_services,
    match_policies,
    oauth_clients,
    oauth_endpoints,
    operators,
    palms,
    server_certificates,
    setup,
    shadows,
    simulation,
    tenant,
    tenant_settings,
    tenants,
    token,
    transactions,
    transparency,
    user_commands,
    user_lookup,
    user_sessions,
    users,
    webhook_endpoints,
    webhook_identity,
)
from interfaces.http.services import Services
from interfaces.http.user import accounts, codes, links, passwords, reauthentication, sessions
from interfaces.http.user import consents as my_consents

SMALL_BODY: Final = 65_536

PUBLIC: Final = (
    *wellknown.HANDLERS,
    *pki.HANDLERS,
    *token.HANDLERS,
    *oauth_endpoints.HANDLERS,
    *oauth_clients.HANDLERS,
    *linked_services.HANDLERS,
    *certification.HANDLERS,
    *health.HANDLERS,
    *breakers.HANDLERS,
    *shadows.HANDLERS,
    *devices.HANDLERS,
    *device_commands.HANDLERS,
    *device_cas.HANDLERS,
    *server_certificates.HANDLERS,
    *setup.HANDLERS,
    *device_batches.HANDLERS,
    *tenant.HANDLERS,
    *tenant_settings.HANDLERS,
    *tenants.HANDLERS,
    *transactions.HANDLERS,
    *explanation.HANDLERS,
    *simulation.HANDLERS,
    *users.HANDLERS,
    *user_commands.HANDLERS,
    *user_lookup.HANDLERS,
    *user_sessions.HANDLERS,
    *sign_in.HANDLERS,
    *passkey_sign_in.HANDLERS,
    *account.HANDLERS,
    *passkeys.HANDLERS,
    *operators.HANDLERS,
    *approvals.HANDLERS,
    *codes.HANDLERS,
    *passwords.HANDLERS,
    *reauthentication.HANDLERS,
    *accounts.HANDLERS,
    *links.HANDLERS,
    *sessions.HANDLERS,
    *enrollments.HANDLERS,
    *palms.HANDLERS,
    *comparisons.HANDLERS,
    *consents.HANDLERS,
    *my_consents.HANDLERS,
    *challenges.HANDLERS,
    *accesses.HANDLERS,
    *data_subject_requests.HANDLERS,
    *audit.HANDLERS,
    *webhook_endpoints.HANDLERS,
    *webhook_identity.HANDLERS,
    *transparency.HANDLERS,
    *audit_stream.HANDLERS,
    *match_policies.HANDLERS,
    *pairing.HANDLERS,
    *recovery.HANDLERS,
)

DEVICE: Final = (
    *device_transactions.HANDLERS,
    *journal.HANDLERS,
    *heartbeat.HANDLERS,
    *renewal.HANDLERS,
    *signup.HANDLERS,
    *device_challenges.HANDLERS,
)


class Apps(msgspec.Struct, frozen=True, kw_only=True):
    """`document` is the OpenAPI of both, as served at `/openapi.json` of the public one."""

    public: Litestar
    device: ASGIApp
    document: dict[str, Any]


def build(services: Services, *, public: tuple[HTTPRouteHandler, ...] = PUBLIC) -> Apps:
    """Both applications over the same services. Raises RouteUnguarded."""
    described = docs.document(
        _app(services, public),
        _app(services, DEVICE),
        issuer=services.issuer,
        device_api=services.device_api,
    )
    served = msgspec.json.encode(described)
    others = [handler for handler in DEVICE if handler is not device_transactions.transact]
    serve = direct.serving(services)
    framework = _app(services, (direct.refusing(services, serve), *others))
    return Apps(
        public=_app(services, (*public, docs.route(served))),
        device=direct.Direct(cast("ASGIApp", framework), services, serve),
        document=msgspec.json.decode(served),
    )


def attending(services: Services) -> Callable[[Message, Scope], Awaitable[None]]:
    """Tells of every answer as it begins, and gives its tenant's place back as it ends: what runs
    after an answer counts for neither."""
    traffic, places = services.traffic, services.places

    async def attend(message: Message, scope: Scope) -> None:
        state: dict[str, Any] = scope["state"]
        if message["type"] == "http.response.body":
            if not message.get("more_body"):
                places.leave(state)
            return
        if message["type"] != "http.response.start" or BEGAN not in state:
            return
        traffic.answered(
            _operation(scope.get("route_handler")),
            message["status"],
            state.get(problems.REFUSED),
            time.perf_counter() - state[BEGAN],
        )

    return attend


def _operation(handler: BaseRouteHandler | None) -> str:
    """The operation's name; `none` where the path is nobody's."""
    if handler is None:
        return "none"
    if isinstance(handler, HTTPRouteHandler):
        return str(handler.operation_id or "none")
    return str(handler.opt["operation_id"])


def _door(services: Services) -> Callable[[authentication.AnyRequest], Awaitable[None]]:
    return authentication.door(
        services.issued_tokens,
        services.dpop_proofs,
        services.issuer,
        services.user_sessions,
        services.console.sessions,
        services.streams,
        services.places,
        services.trust_domain,
        services.clock,
    )


def _app(services: Services, handlers: tuple[HTTPRouteHandler | ASGIRouteHandler, ...]) -> Litestar:
    for handler in handlers:
        authentication.check_guarded(_operation(handler), handler.opt)
    return Litestar(
        route_handlers=handlers,
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "integrator": Provide(authentication.integrator, sync_to_thread=False),
            "person": Provide(authentication.person, sync_to_thread=False),
            "operator": Provide(authentication.operator, sync_to_thread=False),
            "device": Provide(authentication.device, sync_to_thread=False),
        },
        before_request=_door(services),
        exception_handlers=problems.HANDLERS,
        before_send=[request_id.tell, attending(services)],
        openapi_config=docs.config(),
        request_max_body_size=SMALL_BODY,
        logging_config=None,
    )
