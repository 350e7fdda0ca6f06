"""Read model `enrollments`: every palm that was to be enrolled, and what came of it."""

from datetime import datetime
from typing import Final, Literal, LiteralString, get_args

import msgspec

from domain.enrollment import (
    EnrollmentCompleted,
    EnrollmentEvent,
    EnrollmentFailed,
    EnrollmentRejected,
    EnrollmentStarted,
    EnrollmentTemplateArrivedLate,
    EnrollmentTemplateRemovalAttested,
    EnrollmentTemplateRemovalDelayed,
    EnrollmentTemplateRemovalStarted,
    EnrollmentTemplateRemoved,
    RemovalDelay,
    Template,
)
from domain.events import Recorded
from domain.folding import UnexpectedEvent
from domain.ids import DeviceId, PalmRef, TenantId, UserId
from domain.palm import Hand
from projections.read_model import Connection, Page, ReadModel, fetch_one, page
from projections.stream_rows import StreamRows

EnrollmentStatus = Literal["started", "completed", "rejected", "failed"]

DDL: Final = """
    CREATE TABLE enrollments (
        palm_ref      uuid        PRIMARY KEY,
        tenant_id     uuid        NOT NULL,
        version       bigint      NOT NULL,
        position      bigint      NOT NULL,
        last_position bigint      NOT NULL,
        user_id       uuid        NOT NULL,
        device_id     uuid        NOT NULL,
        hand          text        NOT NULL,
        status        text        NOT NULL,
        reason        text,
        hints         text[]      NOT NULL,
        consent_version text,
        replaces      uuid,
        started_at    timestamptz NOT NULL,
        ended_at      timestamptz,
        template      text        NOT NULL,
        removal_delayed_by text,
        template_removed_at timestamptz
    );
    CREATE INDEX enrollments_listing ON enrollments (tenant_id, position);
    CREATE INDEX enrollments_removing ON enrollments (palm_ref) WHERE template = 'removing';
    CREATE INDEX enrollments_user ON enrollments (tenant_id, user_id, position);
"""


class EnrollmentRow(msgspec.Struct, frozen=True, kw_only=True):
    """One palm on its way to the vendor; `palm_ref` is its reference there.

    A further try after a failure begins the row anew, in the place that the first one had.
    """

    palm_ref: PalmRef
    tenant_id: TenantId
    version: int
    position: int
    last_position: int
    user_id: UserId
    device_id: DeviceId
    hand: Hand
    status: EnrollmentStatus
    reason: str | None
    hints: tuple[str, ...]
    consent_version: str | None
    replaces: PalmRef | None
    started_at: datetime
    ended_at: datetime | None
    template: Template
    removal_delayed_by: RemovalDelay | None
    template_removed_at: datetime | None


def reduce(row: EnrollmentRow | None, recorded: Recorded) -> EnrollmentRow:
    """The enrolment's row after one more fact."""
    event = recorded.event
    if isinstance(event, EnrollmentStarted):
        return EnrollmentRow(
            palm_ref=PalmRef(recorded.stream_id),
            tenant_id=recorded.tenant_id,
            version=recorded.version,
            position=recorded.position if row is None else row.position,
            last_position=recorded.position,
            user_id=event.user_id,
            device_id=event.device_id,
            hand=event.hand,
            status="started",
            reason=None,
            hints=(),
            consent_version=event.consent_version,
            replaces=event.replaces,
            started_at=recorded.recorded_at,
            ended_at=None,
            template="unknown",
            removal_delayed_by=None,
            template_removed_at=None,
        )
    if row is None:
        raise UnexpectedEvent(event)
    replace = msgspec.structs.replace
    row = replace(row, version=recorded.version, last_position=recorded.position)
    ended_at = recorded.recorded_at
    match event:
        case EnrollmentCompleted():
            return replace(row, status="completed", ended_at=ended_at, template="kept")
        case EnrollmentRejected():
            return replace(
                row,
                status="rejected",
                reason=event.reason,
                hints=event.hints,
                ended_at=ended_at,
                template="removing" if event.template_left else "none",
            )
        case EnrollmentFailed():
            return replace(
                row,
                status="failed",
                reason=event.reason,
                ended_at=ended_at,
                template="removing" if event.template_left else "none",
            )
        case EnrollmentTemplateArrivedLate():
            return replace(row, template="removing", template_removed_at=None)
        case EnrollmentTemplateRemovalStarted():
            return replace(row, template="removing")
        case EnrollmentTemplateRemovalDelayed():
            return replace(row, removal_delayed_by=event.reason)
        case EnrollmentTemplateRemoved() | EnrollmentTemplateRemovalAttested():
            return replace(
                row,
                template="removed",
                removal_delayed_by=None,
                template_removed_at=recorded.recorded_at,
            )
        case other:
            raise UnexpectedEvent(other)


READ_MODEL: Final = ReadModel(
    name="enrollments",
    version=3,
    tables=("enrollments",),
    ddl=DDL,
    listens_to=get_args(EnrollmentEvent),
    project=StreamRows("enrollments", "palm_ref", EnrollmentRow, reduce).project,
)

_BY_ID: Final[LiteralString] = """
    SELECT * FROM read_models.enrollments
    WHERE tenant_id = %(tenant_id)s AND palm_ref = %(palm_ref)s
"""
_BY_TENANT: Final[LiteralString] = """
    SELECT * FROM read_models.enrollments
    WHERE tenant_id = %(tenant_id)s
      AND (%(after)s::bigint IS NULL OR position < %(after)s)
      AND (%(status)s::text IS NULL OR status = %(status)s)
      AND (%(user_id)s::uuid IS NULL OR user_id = %(user_id)s)
      AND (%(device_id)s::uuid IS NULL OR device_id = %(device_id)s)
    ORDER BY position DESC
    LIMIT %(limit)s
"""


async def by_id(
    connection: Connection, tenant_id: TenantId, palm_ref: PalmRef
) -> EnrollmentRow | None:
    return await fetch_one(
        connection, _BY_ID, {"tenant_id": tenant_id, "palm_ref": palm_ref}, EnrollmentRow
    )


async def by_tenant(
    connection: Connection,
    tenant_id: TenantId,
    *,
    status: EnrollmentStatus | None = None,
    user_id: UserId | None = None,
    device_id: DeviceId | None = None,
    after: int | None = None,
    limit: int = 50,
) -> Page[EnrollmentRow]:
    """A tenant's enrolments, newest first."""
    parameters = {
        "tenant_id": tenant_id,
        "status": status,
        "user_id": user_id,
        "device_id": device_id,
        "after": after,
    }
    return await page(connection, _BY_TENANT, parameters, EnrollmentRow, limit=limit)
