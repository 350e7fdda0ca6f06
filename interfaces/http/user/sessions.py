"""`/v1/auth`: keeping a session, seeing one's sessions, and ending them."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from application.principals import UserPrincipal
from domain.ids import TenantId, wire
from domain.user_session import Line, SignInMethod
from interfaces.http.caller_address import budget_address
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import path_id
from interfaces.http.possession import proved_by
from interfaces.http.refusals import BODY, WRITE, merged
from interfaces.http.request_id import correlation_id
from interfaces.http.services import Services
from interfaces.http.user.entry import (
    FRESH,
    KEY_PROOF,
    SERVED,
    SESSION,
    Installation,
    UserTokensIssued,
    issued,
)

Given = NamedDependency[Services]
Person = NamedDependency[UserPrincipal]

NOT_FOUND = "session_not_found"


class Refresh(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The token that this installation was given last."""

    refresh_token: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    installation: Installation


class SessionShown(msgspec.Struct, frozen=True, kw_only=True):
    """A session that is open. `current`: it is the one that asks."""

    id: FromPath[str]
    method: SignInMethod
    started_at: datetime
    refreshed_at: datetime
    idle_until: datetime
    expires_at: datetime
    current: bool


class SessionList(msgspec.Struct, frozen=True, kw_only=True):
    items: list[SessionShown]


def session(line: Line, *, current: bool = False) -> SessionShown:
    return SessionShown(
        id=wire(SESSION, line.session_id),
        method=line.method,
        started_at=line.created_at,
        refreshed_at=line.rotated_at,
        idle_until=line.idle_until,
        expires_at=line.expires_at,
        current=current,
    )


@post(
    "/v1/auth/refresh",
    operation_id="refreshTokens",
    tags=["Sign-in"],
    summary="Trade a refresh token for an access token and the next refresh token",
    status_code=200,
    dto=StrictJSON[Refresh],
    return_dto=None,
    public=True,
    request_max_body_size=8192,
    refusals=merged(
        BODY, WRITE, SERVED, KEY_PROOF, {401: ("refresh_token_invalid",), 429: ("rate_limited",)}
    ),
)
async def refresh(
    request: Request[Any, Any, Any], data: JSONBody[Refresh], services: Given
) -> Response[UserTokensIssued]:
    async def possession(tenant_id: TenantId) -> str | None:
        return await proved_by(request, services.dpop_proofs, services.issuer, tenant_id, None)

    tokens = await services.user_sessions.refresh(
        data.refresh_token,
        data.installation,
        budget_address(request),
        correlation_id(request),
        possession,
    )
    return issued(tokens)


@post(
    "/v1/auth/sign-out",
    operation_id="signOut",
    tags=["Sign-in"],
    summary="End this session",
    status_code=204,
    user=True,
    refusals=merged(WRITE, {404: (NOT_FOUND,)}),
)
async def sign_out(person: Person, services: Given) -> None:
    await services.user_sessions.end(person, person.user_id, person.session_id, "signed_out")


@get(
    "/v1/auth/sessions",
    operation_id="listOwnSessions",
    tags=["Sign-in"],
    summary="One's own open sessions, newest first",
    user=True,
)
async def index(person: Person, services: Given) -> SessionList:
    lines = await services.user_sessions.of_user(person.tenant_id, person.user_id)
    items = [session(line, current=line.session_id == person.session_id) for line in lines]
    return SessionList(items=items)


@delete(
    "/v1/auth/sessions/{session_id:str}",
    operation_id="endOwnSession",
    tags=["Sign-in"],
    summary="End one of one's own sessions; another one just after a proof",
    status_code=204,
    user=True,
    refusals=merged(WRITE, FRESH, {404: (NOT_FOUND,)}),
)
async def end(session_id: FromPath[str], person: Person, services: Given) -> None:
    found = path_id(SESSION, session_id, NOT_FOUND)
    await services.user_sessions.end_own(person, found)


HANDLERS = (refresh, sign_out, index, end)
