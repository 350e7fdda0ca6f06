"""`/v1/operators`: the console people of a tenant or of the platform, and what they may."""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from application.console.operators import Changed, described
from application.ports.console import ConsolePerson
from application.principals import Manager
from domain.ids import OperatorId, wire
from domain.operator import MailOutcome, Operator, Role, Status
from interfaces.http.console.sign_in import OPERATOR
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import (
    ApprovalHeader,
    Cursor,
    IdempotencyKey,
    IfMatch,
    Limit,
    MinPosition,
    cursor,
    etag,
    expected_version,
    header_key,
    opaque,
    path_id,
    reading,
)
from interfaces.http.positions import positioned
from interfaces.http.refusals import (
    APPROVAL,
    BODY,
    CONDITION,
    KEY,
    PAGE,
    WRITE,
    Refusals,
    merged,
)
from interfaces.http.services import Services
from projections import operators as view

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

NOT_FOUND: Final = "operator_not_found"
GONE: Final[Refusals] = {404: (NOT_FOUND,), 409: ("operator_removed",)}


class NewOperator(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody to be invited; the platform has Platform Admins, a tenant has the others. `by_mail`:
    the invitation goes to the address, and is not shown."""

    email: Annotated[str, msgspec.Meta(min_length=3, max_length=254)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    role: Role
    by_mail: bool = False


class OperatorChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another role; the person's sessions end with the one of before."""

    role: Role


class OperatorShown(msgspec.Struct, frozen=True, kw_only=True):
    """`invitation` is shown in the answer that made it and never again: pass it on to the person,
    who takes it up at `/v1/console/invitations/accept`. `invitation_mail` says what became of the
    mail with the invitation that counts, where one was wanted."""

    id: str
    email: str | None
    name: str | None
    role: Role
    status: Status
    invited_until: datetime | None
    totp: bool
    passkeys: int
    version: int
    invitation_mail: MailOutcome | None
    invitation: str | None = None


class OperatorPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[OperatorShown]
    next: str | None


def _shown(
    found: Operator, person: ConsolePerson | None, invitation: str | None = None
) -> OperatorShown:
    return OperatorShown(
        id=wire(OPERATOR, found.id),
        email=None if person is None else person.email,
        name=None if person is None else person.name,
        role=found.role,
        status=found.status,
        invited_until=found.invited_until,
        totp=found.totp,
        passkeys=len(found.passkeys),
        version=found.version,
        invitation_mail=found.invitation_mail if found.status == "invited" else None,
        invitation=invitation,
    )


async def _answer(
    services: Services, changed: Changed, status: int = 200
) -> Response[OperatorShown]:
    operator = changed.operator
    person = await services.console.operators.person(operator.tenant_id, operator.id)
    headers = {
        **etag(operator.version),
        **positioned(changed.done),
        "cache-control": "no-store",
    }
    body = _shown(operator, person, changed.invitation)
    return Response(body, status_code=status, headers=headers)


@post(
    "/v1/operators",
    operation_id="inviteOperator",
    tags=["Operators"],
    summary="Invite somebody into the console",
    dto=StrictJSON[NewOperator],
    return_dto=None,
    permission="operators.write",
    refusals=merged(
        BODY,
        KEY,
        WRITE,
        {
            409: ("operator_email_taken", "tenant_deleted"),
            422: ("role_not_here", "operator_name_invalid", "email_invalid"),
        },
    ),
)
async def invite(
    request: Request[Any, Any, Any],
    data: JSONBody[NewOperator],
    integrator: Integrator,
    services: Given,
    idempotency_key: IdempotencyKey = None,
) -> Response[OperatorShown]:
    del idempotency_key  # declared for OpenAPI; read from the raw headers to see a second one
    console = services.console
    invite = console.mailed_invitations.invite if data.by_mail else console.operators.invite
    made = await invite(
        integrator, described(data.email, data.name), data.role, header_key(request)
    )
    answer = await _answer(services, made, 201)
    answer.headers["location"] = f"/v1/operators/{wire(OPERATOR, made.operator.id)}"
    return answer


@get(
    "/v1/operators",
    operation_id="listOperators",
    tags=["Operators"],
    summary="List the console people",
    permission="operators.read",
    refusals=PAGE,
)
async def index(
    integrator: Integrator,
    services: Given,
    page: Cursor = None,
    limit: Limit = 50,
    min_position: MinPosition = None,
) -> OperatorPage:
    after = cursor(page)
    async with reading(services, integrator.tenant_id, view.READ_MODEL, min_position) as connection:
        found = await view.by_tenant(connection, integrator.tenant_id, after=after, limit=limit)
    people = await services.console.operators.people(
        integrator.tenant_id, [row.operator_id for row in found.rows]
    )
    items = [_row(row, people.get(row.operator_id)) for row in found.rows]
    return OperatorPage(items=items, next=opaque(found.next))


def _row(row: view.OperatorRow, person: ConsolePerson | None) -> OperatorShown:
    return OperatorShown(
        id=wire(OPERATOR, row.operator_id),
        email=None if person is None else person.email,
        name=None if person is None else person.name,
        role=row.role,
        status=row.status,
        invited_until=row.invited_until,
        totp=row.totp,
        passkeys=row.passkeys,
        version=row.version,
        invitation_mail=row.invitation_mail,
    )


@get(
    "/v1/operators/{operator_id:str}",
    operation_id="getOperator",
    tags=["Operators"],
    summary="One console person, with their ETag",
    permission="operators.read",
    refusals={404: (NOT_FOUND,)},
)
async def show(
    operator_id: FromPath[str], integrator: Integrator, services: Given
) -> Response[OperatorShown]:
    found = path_id(OPERATOR, operator_id, NOT_FOUND)
    operator = await services.console.operators.get(integrator.tenant_id, found)
    person = await services.console.operators.person(operator.tenant_id, operator.id)
    return Response(_shown(operator, person), headers=etag(operator.version))


@patch(
    "/v1/operators/{operator_id:str}",
    operation_id="changeOperator",
    tags=["Operators"],
    summary="Give a console person another role; their sessions end",
    dto=StrictJSON[OperatorChange],
    return_dto=None,
    permission="operators.write",
    refusals=merged(
        BODY, CONDITION, WRITE, GONE, {422: ("role_not_here",), 428: ("if_match_required",)}
    ),
)
async def change(
    operator_id: FromPath[str],
    data: JSONBody[OperatorChange],
    integrator: Integrator,
    services: Given,
    if_match: IfMatch = None,
) -> Response[OperatorShown]:
    found = path_id(OPERATOR, operator_id, NOT_FOUND)
    version = expected_version(if_match, required=True)
    changed = await services.console.operators.change_role(integrator, found, version, data.role)
    return await _answer(services, changed)


@post(
    "/v1/operators/{operator_id:str}/invite",
    operation_id="inviteOperatorAgain",
    tags=["Operators"],
    summary="Make another invitation; the one before is worth nothing",
    permission="operators.write",
    status_code=200,
    refusals=merged(WRITE, {404: (NOT_FOUND,), 409: ("operator_not_invited",)}),
)
async def invite_again(
    operator_id: FromPath[str], integrator: Integrator, services: Given
) -> Response[OperatorShown]:
    found = path_id(OPERATOR, operator_id, NOT_FOUND)
    return await _answer(services, await services.console.operators.invite_again(integrator, found))


@post(
    "/v1/operators/{operator_id:str}/mail-invitation",
    operation_id="mailInvitation",
    tags=["Operators"],
    summary="Mail another invitation to the person; the one before is worth nothing",
    permission="operators.write",
    status_code=200,
    refusals=merged(WRITE, {404: (NOT_FOUND,), 409: ("operator_not_invited",)}),
)
async def mail_invitation(
    operator_id: FromPath[str], integrator: Integrator, services: Given
) -> Response[OperatorShown]:
    found = path_id(OPERATOR, operator_id, NOT_FOUND)
    return await _answer(
        services, await services.console.mailed_invitations.mail_again(integrator, found)
    )


@post(
    "/v1/operators/{operator_id:str}/suspend",
    operation_id="suspendOperator",
    tags=["Operators"],
    summary="Keep a console person out, from this moment on",
    permission="operators.write",
    status_code=200,
    refusals=merged(WRITE, GONE, {409: ("operator_not_active", "last_platform_admin")}),
)
async def suspend(
    operator_id: FromPath[str], integrator: Integrator, services: Given
) -> Response[OperatorShown]:
    found = path_id(OPERATOR, operator_id, NOT_FOUND)
    return await _answer(services, await services.console.operators.suspend(integrator, found))


@post(
    "/v1/operators/{operator_id:str}/resume",
    operation_id="resumeOperator",
    tags=["Operators"],
    summary="Let a suspended console person in again",
    permission="operators.write",
    status_code=200,
    refusals=merged(WRITE, GONE, {409: ("operator_not_active",)}),
)
async def resume(
    operator_id: FromPath[str], integrator: Integrator, services: Given
) -> Response[OperatorShown]:
    found = path_id(OPERATOR, operator_id, NOT_FOUND)
    return await _answer(services, await services.console.operators.resume(integrator, found))


@delete(
    "/v1/operators/{operator_id:str}",
    operation_id="removeOperator",
    tags=["Operators"],
    summary="Remove a console person for good; of a Platform Admin it takes two",
    permission="operators.write",
    status_code=204,
    refusals=merged(WRITE, APPROVAL, {404: (NOT_FOUND,), 409: ("last_platform_admin",)}),
)
async def remove(
    operator_id: FromPath[str],
    integrator: Integrator,
    services: Given,
    approval: ApprovalHeader = None,
) -> Response[None]:
    del approval  # declared for OpenAPI; the door read it
    found = path_id(OPERATOR, operator_id, NOT_FOUND)
    changed = await services.console.operators.remove(integrator, OperatorId(found))
    return Response(None, status_code=204, headers=positioned(changed.done))


HANDLERS = (invite, index, show, change, invite_again, mail_invitation, suspend, resume, remove)
