"""`/v1/enrollments`: how palms came to be people's, as far as an integrator may see it."""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from application.principals import Manager
from domain.enrollment import EnrollmentStarted, RemovalDelay, Template
from domain.errors import NotFound
from domain.ids import PalmRef, UserId, wire
from domain.palm import Hand
from interfaces.http.as_of import AS_OF, AsOf, moment, past_row, told
from interfaces.http.parameters import (
    Cursor,
    Limit,
    MinPosition,
    cursor,
    opaque,
    path_id,
    query_id,
    reading,
)
from interfaces.http.refusals import FRESHNESS, PAGE, merged
from interfaces.http.services import Services
from projections import enrollments as view

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

USER: Final = "usr"
PALM: Final = "plm"

UserFilter = Annotated[str | None, QueryParameter(name="user_id", max_length=64)]


class EnrollmentShown(msgspec.Struct, frozen=True, kw_only=True):
    """One enrolment, perhaps of a palm that `replaces` another.

    `template` is what the vendor has of the palm: `unknown` until it has ended, `none`, `kept`
    while the palm works, `removing` until the vendor says that it is `removed`.
    """

    palm_ref: FromPath[str]
    user_id: FromPath[str]
    device_id: FromPath[str]
    hand: Hand
    status: Literal["started", "completed", "rejected", "failed"]
    reason: str | None
    hints: tuple[str, ...]
    consent_version: str | None
    replaces: str | None
    started_at: datetime
    ended_at: datetime | None
    template: Template
    removal_delayed_by: RemovalDelay | None
    template_removed_at: datetime | None


class EnrollmentPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[EnrollmentShown]
    next: str | None


def _enrollment(row: view.EnrollmentRow) -> EnrollmentShown:
    return EnrollmentShown(
        palm_ref=wire(PALM, row.palm_ref),
        user_id=wire(USER, row.user_id),
        device_id=wire("dev", row.device_id),
        hand=row.hand,
        status=row.status,
        reason=row.reason,
        hints=row.hints,
        consent_version=row.consent_version,
        replaces=None if row.replaces is None else wire(PALM, row.replaces),
        started_at=row.started_at,
        ended_at=row.ended_at,
        template=row.template,
        removal_delayed_by=row.removal_delayed_by,
        template_removed_at=row.template_removed_at,
    )


@get(
    "/v1/enrollments",
    operation_id="listEnrollments",
    tags=["Enrollments"],
    summary="List palm enrolments, newest first",
    permission="enrollments.read",
    refusals=PAGE,
)
async def enrollments(
    integrator: Integrator,
    services: Given,
    user_id: UserFilter = None,
    page: Cursor = None,
    limit: Limit = 50,
    min_position: MinPosition = None,
) -> EnrollmentPage:
    user = query_id(USER, user_id)
    after = cursor(page)
    async with reading(services, integrator.tenant_id, view.READ_MODEL, min_position) as connection:
        found = await view.by_tenant(
            connection,
            integrator.tenant_id,
            user_id=UserId(user) if user is not None else None,
            after=after,
            limit=limit,
        )
    items = [_enrollment(row) for row in found.rows]
    return EnrollmentPage(items=items, next=opaque(found.next))


@get(
    "/v1/enrollments/{palm_ref:str}",
    operation_id="getEnrollment",
    tags=["Enrollments"],
    summary="One palm enrolment",
    permission="enrollments.read",
    refusals=merged(FRESHNESS, AS_OF, {404: ("enrollment_not_found",)}),
)
async def enrollment(
    palm_ref: FromPath[str],
    integrator: Integrator,
    services: Given,
    min_position: MinPosition = None,
    as_of: AsOf = None,
) -> Response[EnrollmentShown]:
    found = path_id(PALM, palm_ref, "enrollment_not_found")
    up_to = await moment(services, as_of)
    if up_to is not None:
        past = await past_row(
            services,
            integrator.tenant_id,
            found,
            EnrollmentStarted,
            view.reduce,
            up_to,
            "enrollment_not_found",
        )
        return Response(_enrollment(past), headers=told(up_to))
    async with reading(services, integrator.tenant_id, view.READ_MODEL, min_position) as connection:
        row = await view.by_id(connection, integrator.tenant_id, PalmRef(found))
    if row is None:
        raise NotFound("enrollment_not_found")
    return Response(_enrollment(row))


HANDLERS = (enrollments, enrollment)
