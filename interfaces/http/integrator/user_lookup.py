"""`/v1/users/lookup`: whose a mobile or an e-mail is. The value is in the body, never in a URL."""

import msgspec
from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from application.principals import Manager
from domain.errors import Malformed
from domain.ids import wire
from domain.personal_data import AccessPurpose
from interfaces.http.integrator.data_subject_requests import Reference
from interfaces.http.integrator.user_commands import Email, Mobile
from interfaces.http.integrator.users import NOT_FOUND, USER
from interfaces.http.json_body import StrictJSON
from interfaces.http.refusals import BODY, WRITE, merged
from interfaces.http.services import Services

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]


class LookUp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of `mobile` and `email`, and what for; `reference` is your own case, without words."""

    mobile: Mobile | msgspec.UnsetType = msgspec.UNSET
    email: Email | msgspec.UnsetType = msgspec.UNSET
    purpose: AccessPurpose
    reference: Reference | None = None


class FoundUser(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str


@post(
    "/v1/users/lookup",
    operation_id="lookUpUser",
    tags=["Users"],
    summary="Find a person by mobile or e-mail; that you were told is on record",
    status_code=200,
    dto=StrictJSON[LookUp],
    return_dto=None,
    permission="users.look_up",
    refusals=merged(
        BODY,
        WRITE,
        {
            400: ("access_reference_invalid",),
            404: (NOT_FOUND,),
            422: ("mobile_invalid", "email_invalid"),
            429: ("rate_limited",),
        },
    ),
)
async def look_up(
    data: JSONBody[LookUp], integrator: Integrator, services: Given
) -> Response[FoundUser]:
    asked = (data.purpose, data.reference)
    match data.mobile, data.email:
        case str() as mobile, msgspec.UnsetType():
            found = await services.look_ups.find(integrator, "mobile", mobile, *asked)
        case msgspec.UnsetType(), str() as email:
            found = await services.look_ups.find(integrator, "email", email, *asked)
        case _:
            raise Malformed("invalid_request", "either mobile or email")
    return Response(FoundUser(user_id=wire(USER, found)))


HANDLERS = (look_up,)
