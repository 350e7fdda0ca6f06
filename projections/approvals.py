"""Read model `approvals`: what somebody asked to destroy, and what became of it."""

from datetime import datetime, timedelta
from typing import Final, Literal, LiteralString, get_args
from uuid import UUID

import msgspec

from domain.approval import (
    Approval,
    ApprovalAsked,
    ApprovalCarriedOut,
    ApprovalEvent,
    ApprovalGiven,
    ApprovalRefused,
    Operation,
)
from domain.events import Recorded
from domain.folding import UnexpectedEvent
from domain.ids import ApprovalId, TenantId
from projections.read_model import Connection, Page, ReadModel, page
from projections.stream_rows import StreamRows

DDL: Final = """
    CREATE TABLE approvals (
        approval_id   uuid        PRIMARY KEY,
        tenant_id     uuid        NOT NULL,
        version       bigint      NOT NULL,
        position      bigint      NOT NULL,
        last_position bigint      NOT NULL,
        operation     text        NOT NULL,
        subject       uuid        NOT NULL,
        asked_by      text        NOT NULL,
        asked_at      timestamptz NOT NULL,
        wait_s        bigint      NOT NULL,
        expires_at    timestamptz NOT NULL,
        decision      text,
        decided_by    text,
        usable_from   timestamptz
    );
    CREATE INDEX approvals_listing ON approvals (tenant_id, position);
"""


class ApprovalRow(msgspec.Struct, frozen=True, kw_only=True):
    """One approval. Whether it has expired is for whoever knows what time it is."""

    approval_id: ApprovalId
    tenant_id: TenantId
    version: int
    position: int
    last_position: int
    operation: Operation
    subject: UUID
    asked_by: str
    asked_at: datetime
    wait_s: int
    expires_at: datetime
    decision: Literal["given", "refused", "carried_out"] | None = None
    decided_by: str | None = None
    usable_from: datetime | None = None

    def state(self) -> Approval:
        """The same as the domain has it."""
        return Approval(
            id=self.approval_id,
            tenant_id=self.tenant_id,
            version=self.version,
            operation=self.operation,
            subject=self.subject,
            asked_by=self.asked_by,
            asked_at=self.asked_at,
            wait=timedelta(seconds=self.wait_s),
            expires_at=self.expires_at,
            decision=self.decision,
            decided_by=self.decided_by,
            usable_from=self.usable_from,
        )


def reduce(row: ApprovalRow | None, recorded: Recorded) -> ApprovalRow:
    """The approval's row after one more fact."""
    event = recorded.event
    if isinstance(event, ApprovalAsked):
        return ApprovalRow(
            approval_id=ApprovalId(recorded.stream_id),
            tenant_id=recorded.tenant_id,
            version=recorded.version,
            position=recorded.position,
            last_position=recorded.position,
            operation=event.operation,
            subject=event.subject,
            asked_by=recorded.actor,
            asked_at=recorded.recorded_at,
            wait_s=event.wait_s,
            expires_at=event.expires_at,
        )
    if row is None:
        raise UnexpectedEvent(event)
    replace = msgspec.structs.replace
    row = replace(row, version=recorded.version, last_position=recorded.position)
    match event:
        case ApprovalGiven(usable_from=usable_from):
            return replace(
                row, decision="given", decided_by=recorded.actor, usable_from=usable_from
            )
        case ApprovalRefused():
            return replace(row, decision="refused", decided_by=recorded.actor)
        case ApprovalCarriedOut():
            return replace(row, decision="carried_out")
        case other:
            raise UnexpectedEvent(other)


READ_MODEL: Final = ReadModel(
    name="approvals",
    version=1,
    tables=("approvals",),
    ddl=DDL,
    listens_to=get_args(ApprovalEvent),
    project=StreamRows("approvals", "approval_id", ApprovalRow, reduce).project,
)

_BY_TENANT: Final[LiteralString] = """
    SELECT * FROM read_models.approvals
    WHERE tenant_id = %(tenant_id)s
      AND position > coalesce(%(after)s::bigint, 0)
    ORDER BY position
    LIMIT %(limit)s
"""


async def by_tenant(
    connection: Connection, tenant_id: TenantId, *, after: int | None = None, limit: int = 50
) -> Page[ApprovalRow]:
    """In the order in which they were asked for."""
    parameters = {"tenant_id": tenant_id, "after": after}
    return await page(connection, _BY_TENANT, parameters, ApprovalRow, limit=limit)
