"""`/v1/console/passkeys`: one's own passkeys."""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from application.console import passkeys as use_case
from application.principals import OperatorPrincipal
from domain.ids import wire
from interfaces.http.caller_address import budget_address
from interfaces.http.console.webauthn_json import (
    BODY_MAX,
    NewPublicKeyCredential,
    RegistrationBegun,
    Token,
    registration,
)
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import path_id
from interfaces.http.refusals import BODY, WRITE, Refusals, merged
from interfaces.http.services import Services

Given = NamedDependency[Services]
Operator = NamedDependency[OperatorPrincipal]

PASSKEY: Final = "pky"
NOT_FOUND: Final = "passkey_not_found"
ROOM: Final[Refusals] = {
    403: ("operator_not_served",),
    409: ("password_unchanged_yet", "too_many_passkeys"),
}

PasskeyName = Annotated[str, msgspec.Meta(min_length=1, max_length=60)]


class Passkey(msgspec.Struct, frozen=True, kw_only=True):
    """`backup_eligible` ones may be on several devices, and are on others when `backed_up`. Of a
    `suspected` one there may be a copy: remove it. `host` is where it opens anything."""

    id: str
    name: str
    host: str
    backup_eligible: bool
    backed_up: bool
    transports: list[str]
    suspected: bool
    created_at: datetime
    used_at: datetime | None


class PasskeyList(msgspec.Struct, frozen=True, kw_only=True):
    items: list[Passkey]


class NewPasskey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `navigator.credentials.create` made, as its `toJSON()` says it."""

    ceremony: Token
    name: PasskeyName
    credential: NewPublicKeyCredential


class PasskeyChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: PasskeyName


def passkey(found: use_case.Passkey) -> Passkey:
    credential = found.kept.credential
    return Passkey(
        id=wire(PASSKEY, found.kept.id),
        name=found.kept.name,
        host=found.kept.rp_id,
        backup_eligible=credential.backup_eligible,
        backed_up=credential.backed_up,
        transports=list(credential.transports),
        suspected=found.suspected,
        created_at=found.kept.created_at,
        used_at=found.kept.used_at,
    )


@post(
    "/v1/console/passkeys/options",
    operation_id="beginPasskeyRegistration",
    tags=["Console"],
    summary="Get a challenge for a new passkey, within ten minutes of the sign-in",
    status_code=200,
    console=True,
    refusals=merged(WRITE, ROOM, {403: ("step_up_required", "origin_not_allowed")}),
)
async def begin(
    request: Request[Any, Any, Any], operator: Operator, services: Given
) -> Response[RegistrationBegun]:
    origin = request.headers.get("origin")
    proposal = await services.console.passkeys.propose(operator, origin)
    return Response(registration(proposal), headers={"cache-control": "no-store"})


@post(
    "/v1/console/passkeys",
    operation_id="addPasskey",
    tags=["Console"],
    summary="Add the passkey that was made for the challenge",
    dto=StrictJSON[NewPasskey],
    return_dto=None,
    console=True,
    request_max_body_size=BODY_MAX,
    refusals=merged(
        BODY,
        WRITE,
        ROOM,
        {
            409: ("passkey_known",),
            410: ("passkey_ceremony_over",),
            422: ("passkey_invalid", "passkey_name_invalid"),
            429: ("rate_limited",),
        },
    ),
)
async def add(
    request: Request[Any, Any, Any],
    data: JSONBody[NewPasskey],
    operator: Operator,
    services: Given,
) -> Response[Passkey]:
    added = await services.console.passkeys.add(
        operator, budget_address(request), data.ceremony, data.name, data.credential.shown()
    )
    return Response(passkey(added), status_code=201)


@get(
    "/v1/console/passkeys",
    operation_id="listPasskeys",
    tags=["Console"],
    summary="One's own passkeys, the oldest first",
    console=True,
)
async def index(operator: Operator, services: Given) -> PasskeyList:
    found = await services.console.passkeys.of_operator(operator)
    return PasskeyList(items=[passkey(each) for each in found])


@patch(
    "/v1/console/passkeys/{passkey_id:str}",
    operation_id="renamePasskey",
    tags=["Console"],
    summary="Call a passkey something else",
    dto=StrictJSON[PasskeyChange],
    return_dto=None,
    console=True,
    request_max_body_size=8192,
    refusals=merged(
        BODY,
        WRITE,
        {
            403: ("operator_not_served",),
            404: (NOT_FOUND,),
            422: ("passkey_name_invalid",),
        },
    ),
)
async def rename(
    passkey_id: FromPath[str],
    data: JSONBody[PasskeyChange],
    operator: Operator,
    services: Given,
) -> Passkey:
    found = path_id(PASSKEY, passkey_id, NOT_FOUND)
    return passkey(await services.console.passkeys.rename(operator, found, data.name))


@delete(
    "/v1/console/passkeys/{passkey_id:str}",
    operation_id="removePasskey",
    tags=["Console"],
    summary="Have a passkey open nothing any more; every other session ends",
    status_code=204,
    console=True,
    refusals=merged(
        WRITE,
        {
            403: ("operator_not_served", "step_up_required"),
            404: (NOT_FOUND,),
            409: ("second_factor_needed",),
        },
    ),
)
async def remove(passkey_id: FromPath[str], operator: Operator, services: Given) -> None:
    found = path_id(PASSKEY, passkey_id, NOT_FOUND)
    await services.console.passkeys.remove(operator, found)


HANDLERS = (begin, add, index, rename, remove)
