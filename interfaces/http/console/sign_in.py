"""`/v1/console/sign-in`, and taking up an invitation to it."""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from application.console.sessions import Opened
from application.console.sign_ins import Entry, SecondFactor
from application.principals import SetupStep
from domain.errors import NotFound
from domain.ids import PLATFORM, TenantId, parse, wire
from domain.operator import Role
from domain.operator_session import Method
from interfaces.http.caller_address import budget_address
from interfaces.http.json_body import StrictJSON
from interfaces.http.refusals import BODY, WRITE, Refusals, merged
from interfaces.http.request_id import correlation_id
from interfaces.http.services import Services

Given = NamedDependency[Services]

OPERATOR: Final = "opr"
SESSION: Final = "ocs"

Password = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
TotpCode = Annotated[str, msgspec.Meta(pattern="^[0-9]{6}$")]
RecoveryCode = Annotated[str, msgspec.Meta(pattern="^[0-9A-Za-z -]{16,24}$")]
Invitation = Annotated[str, msgspec.Meta(min_length=16, max_length=160)]

NEW_PASSWORD: Final[Refusals] = {
    422: ("password_invalid", "password_too_short", "password_too_long", "password_breached"),
    503: ("sign_in_busy",),
}


class OperatorSignIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Platform Admins leave `tenant_id` out. Whoever has a second factor sends one of the two codes
    in the same request."""

    email: Annotated[str, msgspec.Meta(min_length=3, max_length=254)]
    password: Password
    tenant_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    totp: TotpCode | None = None
    recovery_code: RecoveryCode | None = None

    def second(self) -> SecondFactor | None:
        if self.totp is not None:
            return SecondFactor(kind="totp", value=self.totp)
        if self.recovery_code is not None:
            return SecondFactor(kind="recovery_code", value=self.recovery_code)
        return None


class OperatorSignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """Send the token as `Authorization: Bearer`. While something is `pending`, it opens
    `/v1/console/…` and nothing else."""

    token: str
    token_type: str
    operator_id: str
    session_id: str
    method: Method
    idle_until: datetime
    expires_at: datetime
    pending: list[SetupStep]


class InvitationTaken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    invitation: Invitation
    password: Password


class InvitationAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """Sign in next, at this tenant; the platform's own people at none."""

    operator_id: str
    role: Role
    tenant_id: str | None


def entry(request: Request[Any, Any, Any], tenant_id: str | None) -> Entry:
    """Raises NotFound (`tenant_not_found`) for what is no tenant's id."""
    found = PLATFORM if tenant_id is None else parse("ten", tenant_id)
    if found is None:
        raise NotFound("tenant_not_found")
    return Entry(
        tenant_id=TenantId(found),
        address=budget_address(request),
        correlation_id=correlation_id(request),
    )


def signed_in(opened: Opened) -> Response[OperatorSignedIn]:
    session = opened.session
    body = OperatorSignedIn(
        token=opened.token,
        token_type="Bearer",  # noqa: S106 - the scheme's name (RFC 6750), not a secret
        operator_id=wire(OPERATOR, session.operator_id),
        session_id=wire(SESSION, session.session_id),
        method=session.method,
        idle_until=session.idle_until,
        expires_at=session.expires_at,
        pending=list(opened.pending),
    )
    return Response(body, status_code=200, headers={"cache-control": "no-store"})


@post(
    "/v1/console/sign-in",
    operation_id="signInOperator",
    tags=["Console"],
    summary="Come into the console with e-mail, password and a second factor",
    status_code=200,
    dto=StrictJSON[OperatorSignIn],
    return_dto=None,
    public=True,
    request_max_body_size=8192,
    refusals=merged(
        BODY,
        WRITE,
        {
            401: ("credentials_invalid", "second_factor_missing"),
            403: ("tenant_suspended",),
            404: ("tenant_not_found",),
            422: ("email_invalid",),
            429: ("rate_limited",),
            503: ("sign_in_busy",),
        },
    ),
)
async def sign_in(
    request: Request[Any, Any, Any], data: JSONBody[OperatorSignIn], services: Given
) -> Response[OperatorSignedIn]:
    opened = await services.console.sign_ins.sign_in(
        entry(request, data.tenant_id), data.email, data.password, data.second()
    )
    return signed_in(opened)


@post(
    "/v1/console/invitations/accept",
    operation_id="acceptInvitation",
    tags=["Console"],
    summary="Take up an invitation by choosing a password",
    status_code=200,
    dto=StrictJSON[InvitationTaken],
    return_dto=None,
    public=True,
    request_max_body_size=8192,
    refusals=merged(
        BODY,
        WRITE,
        NEW_PASSWORD,
        {
            401: ("invitation_invalid",),
            403: ("tenant_suspended",),
            410: ("invitation_expired",),
            429: ("rate_limited",),
        },
    ),
)
async def accept(
    request: Request[Any, Any, Any], data: JSONBody[InvitationTaken], services: Given
) -> InvitationAccepted:
    operator = await services.console.sign_ins.accept(
        entry(request, None), data.invitation, data.password
    )
    ours = operator.tenant_id == PLATFORM
    return InvitationAccepted(
        operator_id=wire(OPERATOR, operator.id),
        role=operator.role,
        tenant_id=None if ours else wire("ten", operator.tenant_id),
    )


HANDLERS = (sign_in, accept)
