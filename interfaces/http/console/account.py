"""`/v1/console`: one's own account, sessions, password, authenticator app and recovery codes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from application.permissions import ROLES
from application.principals import OperatorPrincipal, SetupStep
from domain.ids import PLATFORM, wire
from domain.operator import Role
from domain.operator_session import Method, OpenSession
from interfaces.http.caller_address import budget_address
from interfaces.http.console.sign_in import (
    NEW_PASSWORD,
    OPERATOR,
    SESSION,
    Password,
    TotpCode,
)
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import path_id
from interfaces.http.refusals import BODY, WRITE, Refusals, merged
from interfaces.http.services import Services

Given = NamedDependency[Services]
Operator = NamedDependency[OperatorPrincipal]

NOT_FOUND = "session_not_found"
FRESHLY: Final[Refusals] = {403: ("step_up_required",)}


class OwnAccount(msgspec.Struct, frozen=True, kw_only=True):
    """`permissions` is what the role opens, once nothing is `pending`."""

    id: str
    email: str | None
    name: str | None
    role: Role
    tenant_id: str | None
    permissions: list[str]
    totp: bool
    passkeys: int
    recovery_codes_left: int
    pending: list[SetupStep]


class ConsoleSession(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    method: Method
    started_at: datetime
    seen_at: datetime
    idle_until: datetime
    expires_at: datetime
    current: bool


class ConsoleSessionList(msgspec.Struct, frozen=True, kw_only=True):
    items: list[ConsoleSession]


class PasswordChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    current: Password
    new: Password


class TotpProposed(msgspec.Struct, frozen=True, kw_only=True):
    """For an authenticator app: `secret` to be typed, `uri` to be shown as a QR code."""

    secret: str
    uri: str


class TotpProof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    code: TotpCode


class RecoveryCodes(msgspec.Struct, frozen=True, kw_only=True):
    """Each stands in for the app once. They are shown here and nowhere again."""

    recovery_codes: list[str]


def session(found: OpenSession, *, current: bool = False) -> ConsoleSession:
    return ConsoleSession(
        id=wire(SESSION, found.session_id),
        method=found.method,
        started_at=found.started_at,
        seen_at=found.seen_at,
        idle_until=found.idle_until,
        expires_at=found.expires_at,
        current=current,
    )


@get(
    "/v1/console/me",
    operation_id="getOwnAccount",
    tags=["Console"],
    summary="Who one is here, what one may, and what is still to be done",
    console=True,
)
async def me(operator: Operator, services: Given) -> OwnAccount:
    operators = services.console.operators
    state = await operators.get(operator.home, operator.operator_id)
    person = await operators.person(operator.home, operator.operator_id)
    return OwnAccount(
        id=wire(OPERATOR, state.id),
        email=None if person is None else person.email,
        name=None if person is None else person.name,
        role=state.role,
        tenant_id=None if state.tenant_id == PLATFORM else wire("ten", state.tenant_id),
        permissions=sorted(ROLES[state.role]),
        totp=state.totp,
        passkeys=len(state.passkeys),
        recovery_codes_left=state.recovery_codes,
        pending=list(operator.pending),
    )


@post(
    "/v1/console/sign-out",
    operation_id="signOutOperator",
    tags=["Console"],
    summary="End this session",
    status_code=204,
    console=True,
    refusals=merged(WRITE, {404: (NOT_FOUND,)}),
)
async def sign_out(operator: Operator, services: Given) -> None:
    of = (operator.home, operator.operator_id)
    await services.console.sessions.end(operator, of, operator.session_id, "signed_out")


@get(
    "/v1/console/sessions",
    operation_id="listOwnConsoleSessions",
    tags=["Console"],
    summary="One's own open sessions, newest first",
    console=True,
)
async def index(operator: Operator, services: Given) -> ConsoleSessionList:
    found = await services.console.sessions.of_operator(operator.home, operator.operator_id)
    items = [session(each, current=each.session_id == operator.session_id) for each in found]
    return ConsoleSessionList(items=items)


@delete(
    "/v1/console/sessions/{console_session_id:str}",
    operation_id="endOwnConsoleSession",
    tags=["Console"],
    summary="End one of one's own sessions",
    status_code=204,
    console=True,
    refusals=merged(WRITE, {404: (NOT_FOUND,)}),
)
async def end(console_session_id: FromPath[str], operator: Operator, services: Given) -> None:
    found = path_id(SESSION, console_session_id, NOT_FOUND)
    of = (operator.home, operator.operator_id)
    await services.console.sessions.end(operator, of, found, "revoked")


@post(
    "/v1/console/password",
    operation_id="changeOwnPassword",
    tags=["Console"],
    summary="Choose another password; every other session ends",
    status_code=204,
    dto=StrictJSON[PasswordChange],
    return_dto=None,
    console=True,
    request_max_body_size=8192,
    refusals=merged(
        BODY,
        WRITE,
        NEW_PASSWORD,
        {
            401: ("credentials_invalid",),
            422: ("password_unchanged", "password_reused"),
            429: ("rate_limited",),
        },
    ),
)
async def change_password(
    request: Request[Any, Any, Any],
    data: JSONBody[PasswordChange],
    operator: Operator,
    services: Given,
) -> None:
    await services.console.sign_ins.change_password(
        operator, budget_address(request), data.current, data.new
    )


@post(
    "/v1/console/totp",
    operation_id="proposeTotp",
    tags=["Console"],
    summary="Get a secret for an authenticator app; it counts once a code of it is proved",
    console=True,
    refusals=merged(WRITE, FRESHLY),
)
async def propose_totp(operator: Operator, services: Given) -> Response[TotpProposed]:
    proposed = await services.console.second_factors.propose_totp(operator)
    body = TotpProposed(secret=proposed.secret, uri=proposed.uri)
    return Response(body, status_code=201, headers={"cache-control": "no-store"})


@post(
    "/v1/console/totp/verify",
    operation_id="enrollTotp",
    tags=["Console"],
    summary="Prove the authenticator app, and get the recovery codes",
    status_code=200,
    dto=StrictJSON[TotpProof],
    return_dto=None,
    console=True,
    request_max_body_size=8192,
    refusals=merged(
        BODY,
        WRITE,
        FRESHLY,
        {
            409: ("totp_not_proposed",),
            422: ("code_incorrect",),
            429: ("rate_limited",),
        },
    ),
)
async def enroll_totp(
    request: Request[Any, Any, Any],
    data: JSONBody[TotpProof],
    operator: Operator,
    services: Given,
) -> Response[RecoveryCodes]:
    codes = await services.console.second_factors.enroll_totp(
        operator, budget_address(request), data.code
    )
    return _told(codes)


@delete(
    "/v1/console/totp",
    operation_id="removeTotp",
    tags=["Console"],
    summary="Have no authenticator app any more",
    status_code=204,
    console=True,
    refusals=merged(WRITE, FRESHLY, {409: ("second_factor_needed",)}),
)
async def remove_totp(operator: Operator, services: Given) -> None:
    await services.console.second_factors.remove_totp(operator)


@post(
    "/v1/console/recovery-codes",
    operation_id="renewRecoveryCodes",
    tags=["Console"],
    summary="Get new recovery codes; those of before are worth nothing",
    status_code=200,
    console=True,
    refusals=merged(WRITE, FRESHLY, {409: ("totp_not_enrolled",)}),
)
async def renew_recovery_codes(operator: Operator, services: Given) -> Response[RecoveryCodes]:
    return _told(await services.console.second_factors.renew_recovery_codes(operator))


def _told(codes: Sequence[str]) -> Response[RecoveryCodes]:
    body = RecoveryCodes(recovery_codes=list(codes))
    return Response(body, status_code=200, headers={"cache-control": "no-store"})


HANDLERS = (
    me,
    sign_out,
    index,
    end,
    change_password,
    propose_totp,
    enroll_totp,
    remove_totp,
    renew_recovery_codes,
)
