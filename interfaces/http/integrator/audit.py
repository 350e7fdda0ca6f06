"""`/v1/audit`: everything that happened in a tenant, one line per event."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from application.principals import Manager
from interfaces.http.parameters import Cursor, Limit, MinPosition, cursor, opaque, reading
from interfaces.http.refusals import PAGE, merged
from interfaces.http.services import Services
from interfaces.http.times import Since, Until, when
from projections import audit as view
from projections.published import Severity

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

ActionFilter = Annotated[
    str | None, QueryParameter(name="action", max_length=80, pattern="^[a-z][a-z0-9_]*$")
]
ActorFilter = Annotated[
    str | None, QueryParameter(name="actor", max_length=80, pattern="^[a-z]+:[a-z0-9_-]+$")
]
SubjectFilter = Annotated[
    str | None,
    QueryParameter(
        name="subject",
        pattern="^([a-z]+_)?[0-9a-f]{32}$",
        max_length=48,
        description="an id of any kind, such as txn_…",
    ),
]
CorrelationFilter = Annotated[
    UUID | None, QueryParameter(name="correlation_id", description="all that one request did")
]


class AuditLine(msgspec.Struct, frozen=True, kw_only=True):
    position: int
    recorded_at: datetime
    action: str
    severity: Severity
    actor: str
    subject_kind: str
    subject_id: str
    correlation_id: str
    event: str
    facts: Mapping[str, Any]


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[AuditLine]
    next: str | None


def shown(row: view.AuditRow) -> dict[str, Any]:
    """The fields of a line as it is told."""
    return {
        "position": row.position,
        "recorded_at": row.recorded_at,
        "action": row.action,
        "severity": row.severity,
        "actor": row.actor,
        "subject_kind": row.subject_kind,
        "subject_id": row.subject_id.hex,
        "correlation_id": str(row.correlation_id),
        "event": row.event,
        "facts": row.facts,
    }


@get(
    "/v1/audit",
    operation_id="searchAudit",
    tags=["Audit"],
    summary="Search the audit, newest first",
    permission="audit.read",
    refusals=merged(PAGE, {400: ("time_invalid",), 503: ("commit_failed",)}),
)
async def index(
    integrator: Integrator,
    services: Given,
    action: ActionFilter = None,
    actor: ActorFilter = None,
    subject: SubjectFilter = None,
    correlation_id: CorrelationFilter = None,
    since: Since = None,
    until: Until = None,
    page: Cursor = None,
    limit: Limit = 50,
    min_position: MinPosition = None,
) -> AuditPage:
    after = cursor(page)
    bounds = when(since), when(until)
    await services.audit_readings.note(integrator, "search")
    async with reading(services, integrator.tenant_id, view.READ_MODEL, min_position) as connection:
        found = await view.by_tenant(
            connection,
            integrator.tenant_id,
            action=action,
            actor=actor,
            subject_id=UUID(subject.rpartition("_")[2]) if subject is not None else None,
            correlation_id=correlation_id,
            since=bounds[0],
            until=bounds[1],
            after=after,
            limit=limit,
        )
    items = [AuditLine(**shown(row)) for row in found.rows]
    return AuditPage(items=items, next=opaque(found.next))


HANDLERS = (index,)
