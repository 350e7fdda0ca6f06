"""`/v1/auth/passwords`: signing in with e-mail and password, setting it, getting a new one."""

from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, delete, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from application.principals import UserPrincipal
from domain.password import LENGTH_MAX
from interfaces.http.caller_address import budget_address
from interfaces.http.json_body import StrictJSON
from interfaces.http.refusals import WRITE, Refusals, merged
from interfaces.http.services import Services
from interfaces.http.user.codes import PROVED, ChallengeWire, Code, CodeSent, challenge, sent
from interfaces.http.user.entry import (
    GUARDED,
    KEY_PROOF,
    LAST,
    SERVED,
    Installation,
    Locale,
    TenantWire,
    UserTokensIssued,
    entry,
    issued,
)

Given = NamedDependency[Services]
Person = NamedDependency[UserPrincipal]

Email = Annotated[str, msgspec.Meta(min_length=3, max_length=254)]
Password = Annotated[str, msgspec.Meta(min_length=1, max_length=LENGTH_MAX)]

BUSY: Final[Refusals] = {503: ("sign_in_busy",)}
NEW: Final[Refusals] = {
    422: (
        "password_invalid",
        "password_too_short",
        "password_too_long",
        "password_breached",
        "password_reused",
    ),
    503: ("sign_in_busy",),
}
"""What a password that somebody wants to have may be refused for."""


class PasswordGiven(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tenant_id: TenantWire
    installation: Installation
    email: Email
    password: Password


class PasswordWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`current` is the one that the person has, and may be left out just after signing in."""

    password: Password
    current: Password | None = None


class ResetWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tenant_id: TenantWire
    installation: Installation
    email: Email
    locale: Locale = "en"


class ResetProved(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tenant_id: TenantWire
    installation: Installation
    challenge_id: ChallengeWire
    code: Code
    password: Password


@post(
    "/v1/auth/passwords/verify",
    operation_id="signInByPassword",
    tags=["Sign-in"],
    summary="Sign in with e-mail and password",
    status_code=200,
    dto=StrictJSON[PasswordGiven],
    return_dto=None,
    public=True,
    request_max_body_size=8192,
    refusals=merged(
        GUARDED,
        SERVED,
        KEY_PROOF,
        BUSY,
        {
            401: ("credentials_invalid",),
            403: ("password_expired",),
            422: ("email_invalid",),
        },
    ),
)
async def sign_in(
    request: Request[Any, Any, Any], data: JSONBody[PasswordGiven], services: Given
) -> Response[UserTokensIssued]:
    entered = await entry(request, services, data.tenant_id, data.installation)
    tokens = await services.password_sign_ins.sign_in(entered, data.email, data.password)
    return issued(tokens)


@post(
    "/v1/auth/passwords",
    operation_id="setPassword",
    tags=["Sign-in"],
    summary="Set or change one's own password; every other session ends",
    status_code=204,
    dto=StrictJSON[PasswordWanted],
    return_dto=None,
    user=True,
    request_max_body_size=8192,
    refusals=merged(
        GUARDED,
        SERVED,
        NEW,
        {
            401: ("credentials_invalid", "insufficient_user_authentication"),
            404: ("session_not_found",),
            409: ("email_missing",),
        },
    ),
)
async def set_password(
    request: Request[Any, Any, Any],
    data: JSONBody[PasswordWanted],
    person: Person,
    services: Given,
) -> None:
    await services.password_sign_ins.set(
        person, budget_address(request), data.password, data.current
    )


@post(
    "/v1/auth/passwords/reset",
    operation_id="requestPasswordReset",
    tags=["Sign-in"],
    summary="Have a code sent, to set a password without the old one",
    status_code=202,
    dto=StrictJSON[ResetWanted],
    return_dto=None,
    public=True,
    request_max_body_size=8192,
    refusals=merged(GUARDED, {422: ("email_invalid",), 503: ("otp_not_sent",)}),
)
async def request_reset(
    request: Request[Any, Any, Any], data: JSONBody[ResetWanted], services: Given
) -> CodeSent:
    entered = await entry(request, services, data.tenant_id, data.installation)
    return sent(await services.password_sign_ins.request_reset(entered, data.email, data.locale))


@post(
    "/v1/auth/passwords/reset/verify",
    operation_id="resetPassword",
    tags=["Sign-in"],
    summary="Prove the code and set a password; every session ends",
    status_code=204,
    dto=StrictJSON[ResetProved],
    return_dto=None,
    public=True,
    request_max_body_size=8192,
    refusals=merged(
        GUARDED,
        SERVED,
        PROVED,
        NEW,
        {404: ("session_not_found", "user_not_found"), 409: ("email_missing",)},
    ),
)
async def reset(
    request: Request[Any, Any, Any], data: JSONBody[ResetProved], services: Given
) -> None:
    entered = await entry(request, services, data.tenant_id, data.installation)
    await services.password_sign_ins.reset(
        entered, challenge(data.challenge_id), data.code, data.password
    )


@delete(
    "/v1/auth/passwords",
    operation_id="removePassword",
    tags=["Sign-in"],
    summary="Have no password any more; every other session ends",
    status_code=204,
    user=True,
    refusals=merged(WRITE, SERVED, LAST, {404: ("way_in_not_found", "session_not_found")}),
)
async def remove_password(person: Person, services: Given) -> None:
    await services.password_sign_ins.give_up(person)


HANDLERS = (sign_in, set_password, request_reset, reset, remove_password)
