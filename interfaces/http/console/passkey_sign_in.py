"""`/v1/console/sign-in/passkey`: coming into the console by a passkey."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from interfaces.http.console.sign_in import OperatorSignedIn, Password, entry, signed_in
from interfaces.http.console.webauthn_json import (
    BODY_MAX,
    ShownPublicKeyCredential,
    SignInBegun,
    Token,
)
from interfaces.http.console.webauthn_json import sign_in as options
from interfaces.http.json_body import StrictJSON
from interfaces.http.refusals import BODY, WRITE, merged
from interfaces.http.services import Services

Given = NamedDependency[Services]


class PasskeyAfterPassword(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Platform Admins leave `tenant_id` out."""

    email: Annotated[str, msgspec.Meta(min_length=3, max_length=254)]
    password: Password
    tenant_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None


class PasskeySignIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `navigator.credentials.get` said, as its `toJSON()` says it."""

    ceremony: Token
    credential: ShownPublicKeyCredential


@post(
    "/v1/console/sign-in/passkey/options",
    operation_id="beginPasskeySignIn",
    tags=["Console"],
    summary="Get a challenge to sign in by a passkey alone",
    status_code=200,
    public=True,
    refusals={403: ("origin_not_allowed",), 429: ("rate_limited",)},
)
async def begin(request: Request[Any, Any, Any], services: Given) -> Response[SignInBegun]:
    begun = await services.console.passkey_sign_ins.begin(
        entry(request, None), request.headers.get("origin")
    )
    return Response(options(begun), headers={"cache-control": "no-store"})


@post(
    "/v1/console/sign-in/second-factor/options",
    operation_id="beginPasskeySecondFactor",
    tags=["Console"],
    summary="Get a challenge for a passkey as the second factor, after the password",
    status_code=200,
    dto=StrictJSON[PasskeyAfterPassword],
    return_dto=None,
    public=True,
    request_max_body_size=8192,
    refusals=merged(
        BODY,
        WRITE,
        {
            401: ("credentials_invalid",),
            403: ("tenant_suspended", "origin_not_allowed"),
            404: ("tenant_not_found",),
            409: ("no_passkey_here",),
            422: ("email_invalid",),
            429: ("rate_limited",),
            503: ("sign_in_busy",),
        },
    ),
)
async def begin_second(
    request: Request[Any, Any, Any], data: JSONBody[PasskeyAfterPassword], services: Given
) -> Response[SignInBegun]:
    begun = await services.console.passkey_sign_ins.begin_second(
        entry(request, data.tenant_id), request.headers.get("origin"), data.email, data.password
    )
    return Response(options(begun), headers={"cache-control": "no-store"})


@post(
    "/v1/console/sign-in/passkey",
    operation_id="signInByPasskey",
    tags=["Console"],
    summary="Come into the console by a passkey, alone or after the password",
    status_code=200,
    dto=StrictJSON[PasskeySignIn],
    return_dto=None,
    public=True,
    request_max_body_size=BODY_MAX,
    refusals=merged(
        BODY,
        WRITE,
        {
            401: ("credentials_invalid",),
            403: ("tenant_suspended",),
            429: ("rate_limited",),
        },
    ),
)
async def sign_in(
    request: Request[Any, Any, Any], data: JSONBody[PasskeySignIn], services: Given
) -> Response[OperatorSignedIn]:
    opened = await services.console.passkey_sign_ins.sign_in(
        entry(request, None), data.ceremony, data.credential.shown()
    )
    return signed_in(opened)


HANDLERS = (begin, begin_second, sign_in)
