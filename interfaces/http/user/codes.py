"""`/v1/auth/codes`: signing up and in with a one-time code."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from application.people.one_time_codes import Challenged
from application.people.sign_ins import Channel
from domain.errors import NotFound
from domain.ids import ChallengeId, parse, wire
from interfaces.http.json_body import StrictJSON
from interfaces.http.refusals import Refusals, merged
from interfaces.http.services import Services
from interfaces.http.user.entry import (
    GUARDED,
    KEY_PROOF,
    SERVED,
    Installation,
    Locale,
    TenantWire,
    UserTokensIssued,
    entry,
    issued,
)

Given = NamedDependency[Services]

ChallengeWire = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Code = Annotated[str, msgspec.Meta(pattern="^[0-9]{4,10}$")]

PROVED: Refusals = {
    404: ("challenge_not_found",),
    409: ("challenge_locked", "request_in_progress"),
    410: ("challenge_expired",),
    422: ("code_incorrect",),
}
"""What proving a code may come to."""


class CodeWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`destination` is a mobile for `sms` and an address for `email`."""

    tenant_id: TenantWire
    installation: Installation
    channel: Channel
    destination: Annotated[str, msgspec.Meta(min_length=3, max_length=254)]
    locale: Locale = "en"


class CodeSent(msgspec.Struct, frozen=True, kw_only=True):
    """The same whether or not anybody is known by the address. Times in seconds."""

    challenge_id: str
    expires_in: int
    resend_after: int
    code_length: int


class CodeGiven(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What came, from the installation that asked for it, and by the channel that it asked for."""

    tenant_id: TenantWire
    installation: Installation
    channel: Channel
    challenge_id: ChallengeWire
    code: Code


@post(
    "/v1/auth/codes",
    operation_id="requestCode",
    tags=["Sign-in"],
    summary="Have a one-time code sent, to sign up or in with",
    status_code=202,
    dto=StrictJSON[CodeWanted],
    return_dto=None,
    public=True,
    request_max_body_size=8192,
    refusals=merged(
        GUARDED,
        {
            422: ("mobile_invalid", "mobile_country_not_allowed", "email_invalid"),
            503: ("otp_not_sent",),
        },
    ),
)
async def request_code(
    request: Request[Any, Any, Any], data: JSONBody[CodeWanted], services: Given
) -> CodeSent:
    entered = await entry(request, services, data.tenant_id, data.installation)
    challenged = await services.sign_ins.request_code(
        entered, data.channel, data.destination, data.locale
    )
    return sent(challenged)


@post(
    "/v1/auth/codes/verify",
    operation_id="verifyCode",
    tags=["Sign-in"],
    summary="Prove the code; somebody new becomes a user",
    status_code=200,
    dto=StrictJSON[CodeGiven],
    return_dto=None,
    public=True,
    request_max_body_size=8192,
    refusals=merged(GUARDED, SERVED, KEY_PROOF, PROVED),
)
async def verify_code(
    request: Request[Any, Any, Any], data: JSONBody[CodeGiven], services: Given
) -> Response[UserTokensIssued]:
    entered = await entry(request, services, data.tenant_id, data.installation)
    signed_in = await services.sign_ins.verify_code(
        entered, data.channel, challenge(data.challenge_id), data.code
    )
    return issued(signed_in.tokens, is_new_user=signed_in.is_new_user)


def sent(challenged: Challenged) -> CodeSent:
    return CodeSent(
        challenge_id=wire("chl", challenged.challenge_id),
        expires_in=challenged.expires_in_s,
        resend_after=challenged.resend_after_s,
        code_length=challenged.code_length,
    )


def challenge(text: str) -> ChallengeId:
    """Raises NotFound (`challenge_not_found`)."""
    found = parse("chl", text)
    if found is None:
        raise NotFound("challenge_not_found")
    return ChallengeId(found)


HANDLERS = (request_code, verify_code)
