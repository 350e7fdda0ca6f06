"""`/v1/auth/reauthenticate`: proving again who one is, in the session that is open (RFC 9470)."""

from datetime import datetime
from typing import Any, Final

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from application.people.sign_ins import Channel
from application.people.user_sessions import Reauthenticated
from application.ports.id_tokens import NONCE_LIFETIME_S
from application.principals import UserPrincipal
from domain.user_session import SignInMethod
from interfaces.http.caller_address import budget_address
from interfaces.http.json_body import StrictJSON
from interfaces.http.refusals import WRITE, Refusals, merged
from interfaces.http.services import Services
from interfaces.http.user.accounts import PROVED as ACCOUNT_PROVED
from interfaces.http.user.accounts import NonceIssued
from interfaces.http.user.codes import PROVED as CODE_PROVED
from interfaces.http.user.codes import CodeSent, challenge, sent
from interfaces.http.user.entry import GUARDED, SERVED, Locale
from interfaces.http.user.links import AccountLinked, LinkCodeGiven, provider_of
from interfaces.http.user.passwords import BUSY, Password

Given = NamedDependency[Services]
Person = NamedDependency[UserPrincipal]

NO_WAY_IN: Final[Refusals] = {404: ("way_in_not_found",)}


class CodeToSelf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`sms` goes to one's own mobile, `email` to one's own address."""

    channel: Channel
    locale: Locale = "en"


class PasswordProof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    password: Password


class ProvedAgain(msgspec.Struct, frozen=True, kw_only=True):
    """An access token that says so; the refresh token stays the one that it is. `amr` names what
    was proved within five minutes of each other, the latest last, and `acr` how many kinds of it:
    `urn:link-identity:acr:1`, or `:2` for two."""

    access_token: str
    token_type: str
    expires_in: int
    auth_time: datetime
    acr: str
    amr: tuple[SignInMethod, ...]


@post(
    "/v1/auth/reauthenticate/codes",
    operation_id="requestReauthenticationCode",
    tags=["Sign-in"],
    summary="Have a code sent to one's own mobile or e-mail, to prove again who one is",
    status_code=202,
    dto=StrictJSON[CodeToSelf],
    return_dto=None,
    user=True,
    request_max_body_size=8192,
    refusals=merged(
        GUARDED,
        NO_WAY_IN,
        {
            422: ("mobile_invalid", "mobile_country_not_allowed", "email_invalid"),
            503: ("otp_not_sent",),
        },
    ),
)
async def request_code(
    request: Request[Any, Any, Any], data: JSONBody[CodeToSelf], person: Person, services: Given
) -> CodeSent:
    return sent(
        await services.reauthentications.request_code(
            person, budget_address(request), data.channel, data.locale
        )
    )


@post(
    "/v1/auth/reauthenticate/codes/verify",
    operation_id="reauthenticateByCode",
    tags=["Sign-in"],
    summary="Prove the code; the session was authenticated now",
    status_code=200,
    dto=StrictJSON[LinkCodeGiven],
    return_dto=None,
    user=True,
    request_max_body_size=8192,
    refusals=merged(GUARDED, SERVED, NO_WAY_IN, CODE_PROVED),
)
async def by_code(
    request: Request[Any, Any, Any], data: JSONBody[LinkCodeGiven], person: Person, services: Given
) -> Response[ProvedAgain]:
    return _proved(
        await services.reauthentications.by_code(
            person,
            budget_address(request),
            data.channel,
            challenge(data.challenge_id),
            data.code,
        )
    )


@post(
    "/v1/auth/reauthenticate/password",
    operation_id="reauthenticateByPassword",
    tags=["Sign-in"],
    summary="Prove one's password; the session was authenticated now",
    status_code=200,
    dto=StrictJSON[PasswordProof],
    return_dto=None,
    user=True,
    request_max_body_size=8192,
    refusals=merged(
        GUARDED,
        SERVED,
        BUSY,
        {401: ("credentials_invalid",), 403: ("password_expired",)},
    ),
)
async def by_password(
    request: Request[Any, Any, Any], data: JSONBody[PasswordProof], person: Person, services: Given
) -> Response[ProvedAgain]:
    return _proved(
        await services.reauthentications.by_password(person, budget_address(request), data.password)
    )


@post(
    "/v1/auth/reauthenticate/nonces",
    operation_id="issueReauthenticationNonce",
    tags=["Sign-in"],
    summary="Get a nonce for an ID token to prove again who one is, good once",
    status_code=200,
    user=True,
    refusals=WRITE,
)
async def issue_nonce(person: Person, services: Given) -> NonceIssued:
    return NonceIssued(nonce=services.reauthentications.nonce(person), expires_in=NONCE_LIFETIME_S)


@post(
    "/v1/auth/reauthenticate/accounts/{provider:str}",
    operation_id="reauthenticateByAccount",
    tags=["Sign-in"],
    summary="Prove one's own account at google or apple; the session was authenticated now",
    status_code=200,
    dto=StrictJSON[AccountLinked],
    return_dto=None,
    user=True,
    request_max_body_size=16_384,
    refusals=merged(GUARDED, SERVED, NO_WAY_IN, ACCOUNT_PROVED),
)
async def by_account(
    request: Request[Any, Any, Any],
    provider: FromPath[str],
    data: JSONBody[AccountLinked],
    person: Person,
    services: Given,
) -> Response[ProvedAgain]:
    return _proved(
        await services.reauthentications.by_account(
            person, budget_address(request), provider_of(provider), data.id_token, data.nonce
        )
    )


def _proved(again: Reauthenticated) -> Response[ProvedAgain]:
    body = ProvedAgain(
        access_token=again.access_token,
        token_type="DPoP" if again.key_bound else "Bearer",
        expires_in=again.expires_in_s,
        auth_time=again.authenticated_at,
        acr=again.acr,
        amr=again.proved_by,
    )
    return Response(body, status_code=200, headers={"cache-control": "no-store"})


HANDLERS = (request_code, by_code, by_password, issue_nonce, by_account)
