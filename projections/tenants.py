"""Read model `tenants`: who is served, for whoever runs the platform."""

from datetime import datetime
from typing import Final, LiteralString, get_args

import msgspec

from domain.events import Recorded
from domain.folding import UnexpectedEvent
from domain.ids import TenantId
from domain.tenant import (
    TenantCreated,
    TenantDataDestroyed,
    TenantDeleted,
    TenantDeletionStarted,
    TenantEvent,
    TenantResumed,
    TenantSettingsChanged,
    TenantStatus,
    TenantSuspended,
)
from projections.read_model import Connection, Page, ReadModel, page
from projections.stream_rows import StreamRows

DDL: Final = """
    CREATE TABLE tenants (
        tenant_id     uuid        PRIMARY KEY,
        version       bigint      NOT NULL,
        position      bigint      NOT NULL,
        last_position bigint      NOT NULL,
        name          text        NOT NULL,
        sandbox       boolean     NOT NULL,
        status        text        NOT NULL,
        created_at    timestamptz NOT NULL,
        changed_at    timestamptz NOT NULL
    );
    CREATE INDEX tenants_listing ON tenants (position);
    CREATE INDEX tenants_leaving ON tenants (position) WHERE status = 'deleting';
"""


class TenantRow(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant. `version` is its stream's (the ETag)."""

    tenant_id: TenantId
    version: int
    position: int
    last_position: int
    name: str
    sandbox: bool
    status: TenantStatus
    created_at: datetime
    changed_at: datetime


def reduce(row: TenantRow | None, recorded: Recorded) -> TenantRow:
    """The tenant's row after one more fact."""
    event = recorded.event
    if isinstance(event, TenantCreated):
        return TenantRow(
            tenant_id=recorded.tenant_id,
            version=recorded.version,
            position=recorded.position,
            last_position=recorded.position,
            name=event.name,
            sandbox=event.sandbox,
            status="active",
            created_at=recorded.recorded_at,
            changed_at=recorded.recorded_at,
        )
    if row is None:
        raise UnexpectedEvent(event)
    row = msgspec.structs.replace(
        row,
        version=recorded.version,
        last_position=recorded.position,
        changed_at=recorded.recorded_at,
    )
    match event:
        case TenantSettingsChanged() | TenantDataDestroyed():
            return row
        case TenantSuspended():
            return msgspec.structs.replace(row, status="suspended")
        case TenantResumed():
            return msgspec.structs.replace(row, status="active")
        case TenantDeletionStarted():
            return msgspec.structs.replace(row, status="deleting")
        case TenantDeleted():
            return msgspec.structs.replace(row, status="deleted")
        case other:
            raise UnexpectedEvent(other)


READ_MODEL: Final = ReadModel(
    name="tenants",
    version=1,
    tables=("tenants",),
    ddl=DDL,
    listens_to=get_args(TenantEvent),
    project=StreamRows("tenants", "tenant_id", TenantRow, reduce).project,
)

_ALL: Final[LiteralString] = """
    SELECT * FROM read_models.tenants
    WHERE position > coalesce(%(after)s::bigint, 0)
      AND (%(status)s::text IS NULL OR status = %(status)s)
    ORDER BY position
    LIMIT %(limit)s
"""
_DELETING: Final[LiteralString] = """
    SELECT tenant_id FROM read_models.tenants
    WHERE status = 'deleting' AND tenant_id > %s ORDER BY tenant_id LIMIT %s
"""

_HELD: Final[LiteralString] = """
    SELECT tenant_id FROM read_models.tenants
    WHERE status <> 'deleted' AND tenant_id > %s ORDER BY tenant_id LIMIT %s
"""


async def every(
    connection: Connection,
    *,
    status: TenantStatus | None = None,
    after: int | None = None,
    limit: int = 50,
) -> Page[TenantRow]:
    """All tenants in the order of their creation, for a connection that may see them all."""
    parameters = {"status": status, "after": after}
    return await page(connection, _ALL, parameters, TenantRow, limit=limit)


async def held(connection: Connection, after: TenantId, limit: int) -> list[TenantId]:
    """Those that are not deleted, in the order of their ids."""
    found = await connection.execute(_HELD, (after, limit))
    return [TenantId(row[0]) for row in await found.fetchall()]


async def deleting(connection: Connection, after: TenantId, limit: int) -> list[TenantId]:
    """Those whose deletion is not completed, in the order of their ids."""
    found = await connection.execute(_DELETING, (after, limit))
    return [TenantId(row[0]) for row in await found.fetchall()]
