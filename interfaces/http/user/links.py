"""`/v1/auth/links`: the ways in that a person has, one more, one less."""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from application.people.sign_ins import Channel
from application.ports.id_tokens import NONCE_LIFETIME_S
from application.principals import UserPrincipal
from domain.errors import NotFound
from domain.user import Provider
from interfaces.http.caller_address import budget_address
from interfaces.http.json_body import StrictJSON
from interfaces.http.refusals import BODY, WRITE, merged
from interfaces.http.services import Services
from interfaces.http.user.accounts import PROVED, IdTokenWire, Nonce, NonceIssued
from interfaces.http.user.codes import PROVED as CODE_PROVED
from interfaces.http.user.codes import ChallengeWire, Code, CodeSent, challenge, sent
from interfaces.http.user.entry import FRESH, GUARDED, LAST, SERVED, Locale

Given = NamedDependency[Services]
Person = NamedDependency[UserPrincipal]


class WaysIn(msgspec.Struct, frozen=True, kw_only=True):
    """By what the person may sign in, where the tenant lets people in so."""

    ways_in: list[Literal["mobile", "email", "password", "google", "apple"]]


class AccountLinked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`nonce` as it was issued to this session, whatever the token has of it."""

    id_token: IdTokenWire
    nonce: Nonce


class LinkCodeWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`destination` is a mobile for `sms` and an address for `email`."""

    channel: Channel
    destination: Annotated[str, msgspec.Meta(min_length=3, max_length=254)]
    locale: Locale = "en"


class LinkCodeGiven(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    channel: Channel
    challenge_id: ChallengeWire
    code: Code


@get(
    "/v1/auth/links",
    operation_id="listWaysIn",
    tags=["Sign-in"],
    summary="By what one can sign in",
    user=True,
)
async def index(person: Person, services: Given) -> WaysIn:
    return WaysIn(ways_in=sorted(await services.account_links.ways_in(person)))


@post(
    "/v1/auth/links/nonces",
    operation_id="issueLinkNonce",
    tags=["Sign-in"],
    summary="Get a nonce for an ID token of an account to link, good once",
    status_code=200,
    user=True,
    refusals=merged(WRITE, FRESH),
)
async def issue_nonce(person: Person, services: Given) -> NonceIssued:
    return NonceIssued(nonce=services.account_links.nonce(person), expires_in=NONCE_LIFETIME_S)


@post(
    "/v1/auth/links/accounts/{provider:str}",
    operation_id="linkAccount",
    tags=["Sign-in"],
    summary="Come in by an account at google or apple too; just after signing in",
    status_code=204,
    dto=StrictJSON[AccountLinked],
    return_dto=None,
    user=True,
    request_max_body_size=16_384,
    refusals=merged(
        GUARDED,
        SERVED,
        FRESH,
        PROVED,
        {
            404: ("way_in_not_found",),
            409: ("account_linked_already", "google_taken", "apple_taken"),
        },
    ),
)
async def link(
    request: Request[Any, Any, Any],
    provider: FromPath[str],
    data: JSONBody[AccountLinked],
    person: Person,
    services: Given,
) -> None:
    await services.account_links.link(
        person, budget_address(request), provider_of(provider), data.id_token, data.nonce
    )


@delete(
    "/v1/auth/links/accounts/{provider:str}",
    operation_id="unlinkAccount",
    tags=["Sign-in"],
    summary="Come in by an account at google or apple no more; just after signing in",
    status_code=204,
    user=True,
    refusals=merged(BODY, WRITE, SERVED, LAST, {404: ("way_in_not_found", "session_not_found")}),
)
async def unlink(provider: FromPath[str], person: Person, services: Given) -> None:
    await services.account_links.unlink(person, provider_of(provider))


@post(
    "/v1/auth/links/codes",
    operation_id="requestLinkCode",
    tags=["Sign-in"],
    summary="Have a code sent to a mobile or an e-mail to come in by; just after signing in",
    status_code=202,
    dto=StrictJSON[LinkCodeWanted],
    return_dto=None,
    user=True,
    request_max_body_size=8192,
    refusals=merged(
        GUARDED,
        FRESH,
        {
            422: ("mobile_invalid", "mobile_country_not_allowed", "email_invalid"),
            503: ("otp_not_sent",),
        },
    ),
)
async def request_code(
    request: Request[Any, Any, Any], data: JSONBody[LinkCodeWanted], person: Person, services: Given
) -> CodeSent:
    challenged = await services.account_links.request_code(
        person, budget_address(request), data.channel, data.destination, data.locale
    )
    return sent(challenged)


@post(
    "/v1/auth/links/codes/verify",
    operation_id="linkAddress",
    tags=["Sign-in"],
    summary="Prove the code; the mobile or e-mail is one's own from now on",
    status_code=204,
    dto=StrictJSON[LinkCodeGiven],
    return_dto=None,
    user=True,
    request_max_body_size=8192,
    refusals=merged(
        GUARDED,
        FRESH,
        CODE_PROVED,
        {
            403: ("user_erased",),
            404: ("user_not_found",),
            409: ("mobile_taken", "email_taken", "personal_key_destroyed"),
        },
    ),
)
async def link_address(
    request: Request[Any, Any, Any], data: JSONBody[LinkCodeGiven], person: Person, services: Given
) -> None:
    await services.account_links.verify_code(
        person, budget_address(request), data.channel, challenge(data.challenge_id), data.code
    )


def provider_of(text: str) -> Provider:
    """Raises NotFound (`way_in_not_found`)."""
    if text == "google":
        return "google"
    if text == "apple":
        return "apple"
    raise NotFound("way_in_not_found")


HANDLERS = (index, issue_nonce, link, unlink, request_code, link_address)
