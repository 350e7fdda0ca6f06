"""`/v1/users`: signing people up, changing, suspending and deleting them (003 §3.2, §3.4)."""

from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, delete, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from application.identifiers import Values
from application.principals import Manager
from domain.ids import UserId, wire
from domain.user import KycStatus, PersonalField, SuspensionReason
from interfaces.http.integrator.data_subject_requests import ErasureShown, erasure_shown
from interfaces.http.integrator.users import NOT_FOUND, USER, UserShown, now
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import (
    ApprovalHeader,
    IdempotencyKey,
    IfMatch,
    expected_version,
    header_key,
    path_id,
)
from interfaces.http.positions import positioned
from interfaces.http.refusals import APPROVAL, BODY, CONDITION, KEY, WRITE, Refusals, merged
from interfaces.http.services import Services

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

Mobile = Annotated[str, msgspec.Meta(min_length=4, max_length=24)]
Email = Annotated[str, msgspec.Meta(min_length=3, max_length=254)]
OwnId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=120, pattern=r"\S")]

FIELDS: Final[tuple[PersonalField, ...]] = ("name", "mobile", "email", "external_id")
VALUES: Final[Refusals] = {
    409: ("mobile_taken", "email_taken", "external_id_taken"),
    422: ("mobile_invalid", "email_invalid", "external_id_invalid"),
}
ONE: Final = merged(CONDITION, WRITE, {403: ("user_erased",), 404: (NOT_FOUND,)})


class PersonalValues(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of a person. It is kept in the vault, encrypted, and never shown here again.

    `external_id` is your own id of the person, one person's at most, as mobile and e-mail are.
    """

    name: Name | msgspec.UnsetType = msgspec.UNSET
    mobile: Mobile | msgspec.UnsetType = msgspec.UNSET
    email: Email | msgspec.UnsetType = msgspec.UNSET
    external_id: OwnId | msgspec.UnsetType = msgspec.UNSET

    def given(self) -> Values:
        return {
            field: value for field in FIELDS if (value := getattr(self, field)) is not msgspec.UNSET
        }


class Suspension(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: SuspensionReason = "unspecified"


class KycChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far the person's identity is verified. `level` is a name of your own, such as `basic`."""

    status: KycStatus
    level: Annotated[str, msgspec.Meta(min_length=1, max_length=32)] | None = None


@post(
    "/v1/users",
    operation_id="signUpUser",
    tags=["Users"],
    summary="Sign a person up whom you vouch for",
    dto=StrictJSON[PersonalValues],
    return_dto=None,
    permission="users.write",
    refusals=merged(BODY, KEY, WRITE, VALUES, {404: (NOT_FOUND,)}),
)
async def sign_up(
    request: Request[Any, Any, Any],
    data: JSONBody[PersonalValues],
    integrator: Integrator,
    services: Given,
    idempotency_key: IdempotencyKey = None,
) -> Response[UserShown]:
    del idempotency_key  # declared for OpenAPI; read from the raw headers to see a second one
    user, done = await services.users.sign_up(integrator, data.given(), header_key(request))
    answer = await now(services, integrator.tenant_id, user.id)
    answer.headers.update({"location": f"/v1/users/{wire(USER, user.id)}", **positioned(done)})
    answer.status_code = 201
    return answer


@patch(
    "/v1/users/{user_id:str}",
    operation_id="changeUser",
    tags=["Users"],
    summary="Keep other values of a person",
    dto=StrictJSON[PersonalValues],
    return_dto=None,
    permission="users.write",
    refusals=merged(BODY, ONE, VALUES, {428: ("if_match_required",)}),
)
async def change(
    user_id: FromPath[str],
    data: JSONBody[PersonalValues],
    integrator: Integrator,
    services: Given,
    if_match: IfMatch = None,
) -> Response[UserShown]:
    found = UserId(path_id(USER, user_id, NOT_FOUND))
    version = expected_version(if_match, required=True)
    _, done = await services.users.change(integrator, found, version, data.given())
    answer = await now(services, integrator.tenant_id, found)
    answer.headers.update(positioned(done))
    return answer


@post(
    "/v1/users/{user_id:str}/suspend",
    operation_id="suspendUser",
    tags=["Users"],
    summary="Refuse a person everywhere: no sign-in, no transaction",
    status_code=200,
    dto=StrictJSON[Suspension],
    return_dto=None,
    permission="users.write",
    refusals=merged(BODY, ONE),
)
async def suspend(
    user_id: FromPath[str],
    data: JSONBody[Suspension],
    integrator: Integrator,
    services: Given,
    if_match: IfMatch = None,
) -> Response[UserShown]:
    found = UserId(path_id(USER, user_id, NOT_FOUND))
    version = expected_version(if_match, required=False)
    _, done = await services.users.suspend(integrator, found, version, data.reason)
    answer = await now(services, integrator.tenant_id, found)
    answer.headers.update(positioned(done))
    return answer


@post(
    "/v1/users/{user_id:str}/resume",
    operation_id="resumeUser",
    tags=["Users"],
    summary="Serve a suspended person again",
    status_code=200,
    permission="users.write",
    refusals=ONE,
)
async def resume(
    user_id: FromPath[str], integrator: Integrator, services: Given, if_match: IfMatch = None
) -> Response[UserShown]:
    found = UserId(path_id(USER, user_id, NOT_FOUND))
    version = expected_version(if_match, required=False)
    _, done = await services.users.resume(integrator, found, version)
    answer = await now(services, integrator.tenant_id, found)
    answer.headers.update(positioned(done))
    return answer


@post(
    "/v1/users/{user_id:str}/kyc",
    operation_id="changeKyc",
    tags=["Users"],
    summary="Say how far a person's identity is verified",
    status_code=200,
    dto=StrictJSON[KycChange],
    return_dto=None,
    permission="users.write",
    refusals=merged(BODY, ONE, {422: ("kyc_level_invalid",)}),
)
async def change_kyc(
    user_id: FromPath[str],
    data: JSONBody[KycChange],
    integrator: Integrator,
    services: Given,
    if_match: IfMatch = None,
) -> Response[UserShown]:
    found = UserId(path_id(USER, user_id, NOT_FOUND))
    version = expected_version(if_match, required=False)
    _, done = await services.users.change_kyc(integrator, found, version, data.status, data.level)
    answer = await now(services, integrator.tenant_id, found)
    answer.headers.update(positioned(done))
    return answer


@delete(
    "/v1/users/{user_id:str}",
    operation_id="deleteUser",
    tags=["Users"],
    summary="Delete a person, which is to erase them; asked again, it says how far that is",
    status_code=202,
    permission="users.write",
    refusals=merged(WRITE, APPROVAL, {404: (NOT_FOUND,)}),
)
async def remove(
    user_id: FromPath[str],
    integrator: Integrator,
    services: Given,
    approval: ApprovalHeader = None,
) -> Response[ErasureShown]:
    del approval  # declared for OpenAPI; the door read it
    found = UserId(path_id(USER, user_id, NOT_FOUND))
    report = await services.erasures.request(integrator, found)
    location = f"/v1/users/{wire(USER, found)}/dsr/erasure"
    return Response(erasure_shown(found, report), status_code=202, headers={"location": location})


HANDLERS = (sign_up, change, suspend, resume, change_kyc, remove)
