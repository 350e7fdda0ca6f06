"""Read model `erasures`: who is being erased, how far that is, and for what it waits."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, LiteralString, get_args
from uuid import UUID

import msgspec

from domain.erasure import (
    ErasureAccessEnded,
    ErasureCompleted,
    ErasureEvent,
    ErasureKeysDestroyed,
    ErasureRequested,
    ErasureTemplatesPending,
    ErasureTemplatesRemoved,
)
from domain.events import Recorded
from domain.folding import UnexpectedEvent
from domain.ids import PalmRef, TenantId, UserId
from projections.read_model import Connection, Page, ReadModel, page
from projections.stream_rows import StreamRows

ErasureStatus = Literal["running", "pending", "completed"]

DDL: Final = """
    CREATE TABLE erasures (
        erasure_id    uuid        PRIMARY KEY,
        tenant_id     uuid        NOT NULL,
        user_id       uuid        NOT NULL,
        version       bigint      NOT NULL,
        position      bigint      NOT NULL,
        last_position bigint      NOT NULL,
        status        text        NOT NULL,
        reference     text,
        pending       jsonb       NOT NULL,
        requested_at  timestamptz NOT NULL,
        completed_at  timestamptz
    );
    CREATE INDEX erasures_listing ON erasures (tenant_id, position);
    CREATE INDEX erasures_unfinished ON erasures (position) WHERE status <> 'completed';
"""


class ErasureRow(msgspec.Struct, frozen=True, kw_only=True):
    """One erasure. `pending` are the palms that the vendor may still have."""

    erasure_id: UUID
    tenant_id: TenantId
    user_id: UserId
    version: int
    position: int
    last_position: int
    status: ErasureStatus
    reference: str | None
    pending: tuple[PalmRef, ...]
    requested_at: datetime
    completed_at: datetime | None = None


def reduce(row: ErasureRow | None, recorded: Recorded) -> ErasureRow:
    """The erasure's row after one more step."""
    event = recorded.event
    if isinstance(event, ErasureRequested):
        return ErasureRow(
            erasure_id=recorded.stream_id,
            tenant_id=recorded.tenant_id,
            user_id=event.user_id,
            version=recorded.version,
            position=recorded.position,
            last_position=recorded.position,
            status="running",
            reference=event.reference,
            pending=(),
            requested_at=recorded.recorded_at,
        )
    if row is None:
        raise UnexpectedEvent(event)
    replace = msgspec.structs.replace
    row = replace(row, version=recorded.version, last_position=recorded.position)
    match event:
        case ErasureAccessEnded() | ErasureKeysDestroyed():
            return row
        case ErasureTemplatesPending():
            return replace(row, status="pending", pending=event.palms)
        case ErasureTemplatesRemoved():
            return replace(row, status="running", pending=())
        case ErasureCompleted():
            return replace(row, status="completed", completed_at=recorded.recorded_at)
        case other:
            raise UnexpectedEvent(other)


READ_MODEL: Final = ReadModel(
    name="erasures",
    version=1,
    tables=("erasures",),
    ddl=DDL,
    listens_to=get_args(ErasureEvent),
    project=StreamRows("erasures", "erasure_id", ErasureRow, reduce).project,
)

_BY_TENANT: Final[LiteralString] = """
    SELECT * FROM read_models.erasures
    WHERE tenant_id = %(tenant_id)s
      AND position > coalesce(%(after)s::bigint, 0)
      AND (%(status)s::text IS NULL OR status = %(status)s)
    ORDER BY position
    LIMIT %(limit)s
"""
_UNFINISHED: Final[LiteralString] = """
    SELECT position, tenant_id, user_id FROM read_models.erasures
    WHERE status <> 'completed' AND position > %s ORDER BY position LIMIT %s
"""


async def by_tenant(
    connection: Connection,
    tenant_id: TenantId,
    *,
    status: ErasureStatus | None = None,
    after: int | None = None,
    limit: int = 50,
) -> Page[ErasureRow]:
    """A tenant's erasures in the order of their requests."""
    parameters = {"tenant_id": tenant_id, "status": status, "after": after}
    return await page(connection, _BY_TENANT, parameters, ErasureRow, limit=limit)


async def unfinished(
    connection: Connection, after: int, limit: int
) -> Sequence[tuple[int, TenantId, UserId]]:
    """Those requested after a position, which comes with each; of all tenants, oldest first, for
    a connection that may see them."""
    rows = await (await connection.execute(_UNFINISHED, (after, limit))).fetchall()
    return [(at, TenantId(tenant_id), UserId(user_id)) for at, tenant_id, user_id in rows]
