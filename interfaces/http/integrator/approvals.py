"""`/v1/approvals`: what takes two people, asked for by one and agreed to by another."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from application.principals import Manager
from domain.approval import Approval, Operation, Status
from domain.errors import Malformed
from domain.ids import PLATFORM, ApprovalId, parse, wire
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import (
    Cursor,
    IdempotencyKey,
    Limit,
    MinPosition,
    cursor,
    etag,
    header_key,
    opaque,
    path_id,
    reading,
)
from interfaces.http.positions import positioned
from interfaces.http.refusals import BODY, KEY, PAGE, WRITE, Refusals, merged
from interfaces.http.services import Services
from projections import approvals as view

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

PREFIX: Final = "apr"
NOT_FOUND: Final = "approval_not_found"
SUBJECTS: Final[dict[Operation, str]] = {
    "tenant.delete": "ten",
    "ca.regenerate": "ten",
    "platform_admin.remove": "opr",
    "user.erase": "usr",
}
"""What each is done to; the platform's CA is the platform's, ten_000…"""
DECIDED: Final[Refusals] = {
    404: (NOT_FOUND,),
    409: ("approval_decided",),
    410: ("approval_expired",),
}


class ApprovalWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`subject` is the id of what it is to be done to."""

    operation: Operation
    subject: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class ApprovalShown(msgspec.Struct, frozen=True, kw_only=True):
    """Once `approved`, send the id in the header `Approval-Id` of the request that does it."""

    id: str
    operation: Operation
    subject: str
    status: Status
    asked_by: str
    asked_at: datetime
    decided_by: str | None
    usable_from: datetime | None
    expires_at: datetime


class ApprovalPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[ApprovalShown]
    next: str | None


def _shown(approval: Approval, now: datetime) -> ApprovalShown:
    return ApprovalShown(
        id=wire(PREFIX, approval.id),
        operation=approval.operation,
        subject=wire(SUBJECTS[approval.operation], approval.subject),
        status=approval.status(now),
        asked_by=approval.asked_by,
        asked_at=approval.asked_at,
        decided_by=approval.decided_by,
        usable_from=approval.usable_from,
        expires_at=approval.expires_at,
    )


def _subject(wanted: ApprovalWanted) -> UUID:
    if wanted.operation == "ca.regenerate":
        return PLATFORM
    found = parse(SUBJECTS[wanted.operation], wanted.subject)
    if found is None:
        prefix = SUBJECTS[wanted.operation]
        raise Malformed("invalid_request", f"the subject is an id of the form {prefix}_…")
    return found


@post(
    "/v1/approvals",
    operation_id="askApproval",
    tags=["Approvals"],
    summary="Ask for leave to do what takes two people",
    dto=StrictJSON[ApprovalWanted],
    return_dto=None,
    permission="approvals.write",
    refusals=merged(BODY, KEY, WRITE),
)
async def ask(
    request: Request[Any, Any, Any],
    data: JSONBody[ApprovalWanted],
    integrator: Integrator,
    services: Given,
    idempotency_key: IdempotencyKey = None,
) -> Response[ApprovalShown]:
    del idempotency_key  # declared for OpenAPI; read from the raw headers to see a second one
    approval = await services.approvals.ask(
        integrator, data.operation, _subject(data), header_key(request)
    )
    headers = {**etag(approval.version), "location": f"/v1/approvals/{wire(PREFIX, approval.id)}"}
    return Response(_shown(approval, services.clock.now()), status_code=201, headers=headers)


@get(
    "/v1/approvals",
    operation_id="listApprovals",
    tags=["Approvals"],
    summary="What was asked for, oldest first",
    permission="approvals.read",
    refusals=PAGE,
)
async def index(
    integrator: Integrator,
    services: Given,
    page: Cursor = None,
    limit: Limit = 50,
    min_position: MinPosition = None,
) -> ApprovalPage:
    after = cursor(page)
    async with reading(services, integrator.tenant_id, view.READ_MODEL, min_position) as connection:
        found = await view.by_tenant(connection, integrator.tenant_id, after=after, limit=limit)
    now = services.clock.now()
    items = [_shown(row.state(), now) for row in found.rows]
    return ApprovalPage(items=items, next=opaque(found.next))


@get(
    "/v1/approvals/{approval_id:str}",
    operation_id="getApproval",
    tags=["Approvals"],
    summary="One approval",
    permission="approvals.read",
    refusals={404: (NOT_FOUND,)},
)
async def show(
    approval_id: FromPath[str], integrator: Integrator, services: Given
) -> Response[ApprovalShown]:
    found = path_id(PREFIX, approval_id, NOT_FOUND)
    approval = await services.approvals.get(integrator.tenant_id, found)
    return Response(_shown(approval, services.clock.now()), headers=etag(approval.version))


@post(
    "/v1/approvals/{approval_id:str}/approve",
    operation_id="giveApproval",
    tags=["Approvals"],
    summary="Agree to what somebody else asked for",
    permission="approvals.write",
    status_code=200,
    refusals=merged(WRITE, DECIDED, {403: ("approval_needs_another_person",)}),
)
async def give(
    approval_id: FromPath[str], integrator: Integrator, services: Given
) -> Response[ApprovalShown]:
    found = ApprovalId(path_id(PREFIX, approval_id, NOT_FOUND))
    done = await services.approvals.give(integrator, found)
    approval = await services.approvals.get(integrator.tenant_id, found)
    headers = {**etag(approval.version), **positioned(done)}
    return Response(_shown(approval, services.clock.now()), headers=headers)


@post(
    "/v1/approvals/{approval_id:str}/refuse",
    operation_id="refuseApproval",
    tags=["Approvals"],
    summary="Have it not done; who asked may too",
    permission="approvals.write",
    status_code=200,
    refusals=merged(WRITE, DECIDED),
)
async def refuse(
    approval_id: FromPath[str], integrator: Integrator, services: Given
) -> Response[ApprovalShown]:
    found = ApprovalId(path_id(PREFIX, approval_id, NOT_FOUND))
    done = await services.approvals.refuse(integrator, found)
    approval = await services.approvals.get(integrator.tenant_id, found)
    headers = {**etag(approval.version), **positioned(done)}
    return Response(_shown(approval, services.clock.now()), headers=headers)


HANDLERS = (ask, index, show, give, refuse)
