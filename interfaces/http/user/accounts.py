"""`/v1/auth/google` and `/v1/auth/apple`: signing up and in with an account elsewhere."""

from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from application.ports.id_tokens import NONCE_LIFETIME_S
from domain.user import Provider
from interfaces.http.json_body import StrictJSON
from interfaces.http.refusals import Refusals, merged
from interfaces.http.services import Services
from interfaces.http.user.entry import (
    GUARDED,
    KEY_PROOF,
    SERVED,
    Installation,
    TenantWire,
    UserTokensIssued,
    entry,
    issued,
)

Given = NamedDependency[Services]

IdTokenWire = Annotated[str, msgspec.Meta(min_length=1, max_length=8192)]
Nonce = Annotated[str, msgspec.Meta(pattern="^[!-~]{1,200}$")]

PROVED: Final[Refusals] = {401: ("id_token_invalid",), 503: ("provider_unavailable",)}
"""What showing an ID token may come to."""


class NonceWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tenant_id: TenantWire
    installation: Installation


class NonceIssued(msgspec.Struct, frozen=True, kw_only=True):
    """Have the provider put it, or its SHA-256 in hexadecimal, into the ID token. In seconds."""

    nonce: str
    expires_in: int


class IdTokenGiven(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`nonce` as it was issued to this installation, whatever the token has of it."""

    tenant_id: TenantWire
    installation: Installation
    id_token: IdTokenWire
    nonce: Nonce


@post(
    "/v1/auth/nonces",
    operation_id="issueSignInNonce",
    tags=["Sign-in"],
    summary="Get a nonce for an ID token to sign in with, good once",
    status_code=200,
    dto=StrictJSON[NonceWanted],
    return_dto=None,
    public=True,
    request_max_body_size=8192,
    refusals=GUARDED,
)
async def issue_nonce(
    request: Request[Any, Any, Any], data: JSONBody[NonceWanted], services: Given
) -> NonceIssued:
    entered = await entry(request, services, data.tenant_id, data.installation)
    nonce = await services.account_sign_ins.nonce(entered)
    return NonceIssued(nonce=nonce, expires_in=NONCE_LIFETIME_S)


async def _sign_in(
    request: Request[Any, Any, Any], data: IdTokenGiven, services: Services, provider: Provider
) -> Response[UserTokensIssued]:
    entered = await entry(request, services, data.tenant_id, data.installation)
    signed_in = await services.account_sign_ins.sign_in(
        entered, provider, data.id_token, data.nonce
    )
    return issued(signed_in.tokens, is_new_user=signed_in.is_new_user)


REFUSALS: Final[Refusals] = merged(
    GUARDED, SERVED, KEY_PROOF, PROVED, {409: ("account_link_required",)}
)


@post(
    "/v1/auth/google",
    operation_id="signInByGoogle",
    tags=["Sign-in"],
    summary="Sign in with an ID token of Google; somebody new becomes a user",
    status_code=200,
    dto=StrictJSON[IdTokenGiven],
    return_dto=None,
    public=True,
    request_max_body_size=16_384,
    refusals=REFUSALS,
)
async def by_google(
    request: Request[Any, Any, Any], data: JSONBody[IdTokenGiven], services: Given
) -> Response[UserTokensIssued]:
    return await _sign_in(request, data, services, "google")


@post(
    "/v1/auth/apple",
    operation_id="signInByApple",
    tags=["Sign-in"],
    summary="Sign in with an ID token of Apple; somebody new becomes a user",
    status_code=200,
    dto=StrictJSON[IdTokenGiven],
    return_dto=None,
    public=True,
    request_max_body_size=16_384,
    refusals=REFUSALS,
)
async def by_apple(
    request: Request[Any, Any, Any], data: JSONBody[IdTokenGiven], services: Given
) -> Response[UserTokensIssued]:
    return await _sign_in(request, data, services, "apple")


HANDLERS = (issue_nonce, by_google, by_apple)
