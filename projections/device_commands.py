"""Read model `device_commands`: what devices were told to do, and what became of it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, LiteralString, get_args

import msgspec

from domain.device_command import (
    CommandKind,
    CommandStatus,
    DeviceCommandCompleted,
    DeviceCommandDelivered,
    DeviceCommandEvent,
    DeviceCommandExpired,
    DeviceCommandQueued,
    DeviceMessage,
)
from domain.events import Recorded
from domain.folding import UnexpectedEvent
from domain.ids import DeviceCommandId, DeviceId, TenantId
from projections.read_model import Connection, Page, ReadModel, fetch_one, page
from projections.stream_rows import StreamRows

DDL: Final = """
    CREATE TABLE device_commands (
        command_id    uuid        PRIMARY KEY,
        tenant_id     uuid        NOT NULL,
        version       bigint      NOT NULL,
        position      bigint      NOT NULL,
        last_position bigint      NOT NULL,
        device_id     uuid        NOT NULL,
        kind          text        NOT NULL,
        message       text,
        status        text        NOT NULL,
        detail        text,
        queued_at     timestamptz NOT NULL,
        expires_at    timestamptz NOT NULL,
        delivered_at  timestamptz,
        ended_at      timestamptz
    );
    CREATE INDEX device_commands_listing ON device_commands (tenant_id, device_id, position);
    CREATE INDEX device_commands_open ON device_commands (expires_at)
        WHERE status IN ('queued', 'delivered');
"""


class DeviceCommandRow(msgspec.Struct, frozen=True, kw_only=True):
    """One command. `detail` is the device's own code; `ended_at` is when it answered, or when
    time was up."""

    command_id: DeviceCommandId
    tenant_id: TenantId
    version: int
    position: int
    last_position: int
    device_id: DeviceId
    kind: CommandKind
    message: DeviceMessage | None
    status: CommandStatus
    detail: str | None
    queued_at: datetime
    expires_at: datetime
    delivered_at: datetime | None
    ended_at: datetime | None


def reduce(row: DeviceCommandRow | None, recorded: Recorded) -> DeviceCommandRow:
    """The command's row after one more fact."""
    event = recorded.event
    if isinstance(event, DeviceCommandQueued):
        return DeviceCommandRow(
            command_id=DeviceCommandId(recorded.stream_id),
            tenant_id=recorded.tenant_id,
            version=recorded.version,
            position=recorded.position,
            last_position=recorded.position,
            device_id=event.device_id,
            kind=event.kind,
            message=event.message,
            status="queued",
            detail=None,
            queued_at=recorded.recorded_at,
            expires_at=event.expires_at,
            delivered_at=None,
            ended_at=None,
        )
    if row is None:
        raise UnexpectedEvent(event)
    replace = msgspec.structs.replace
    row = replace(row, version=recorded.version, last_position=recorded.position)
    match event:
        case DeviceCommandDelivered():
            return replace(row, status="delivered", delivered_at=recorded.recorded_at)
        case DeviceCommandCompleted():
            return replace(
                row, status=event.result, detail=event.detail, ended_at=recorded.recorded_at
            )
        case DeviceCommandExpired():
            return replace(row, status="expired", ended_at=recorded.recorded_at)
        case other:
            raise UnexpectedEvent(other)


READ_MODEL: Final = ReadModel(
    name="device_commands",
    version=1,
    tables=("device_commands",),
    ddl=DDL,
    listens_to=get_args(DeviceCommandEvent),
    project=StreamRows("device_commands", "command_id", DeviceCommandRow, reduce).project,
)

_BY_ID: Final[LiteralString] = """
    SELECT * FROM read_models.device_commands
    WHERE tenant_id = %(tenant_id)s AND command_id = %(command_id)s
"""
_BY_DEVICE: Final[LiteralString] = """
    SELECT * FROM read_models.device_commands
    WHERE tenant_id = %(tenant_id)s AND device_id = %(device_id)s
      AND (%(after)s::bigint IS NULL OR position < %(after)s)
      AND (%(status)s::text IS NULL OR status = %(status)s)
    ORDER BY position DESC LIMIT %(limit)s
"""
_OPEN: Final[LiteralString] = """
    SELECT command_id FROM read_models.device_commands
    WHERE tenant_id = %s AND device_id = %s AND status IN ('queued', 'delivered')
    ORDER BY position LIMIT %s
"""
_OVERDUE: Final[LiteralString] = """
    SELECT tenant_id, command_id FROM read_models.device_commands
    WHERE status IN ('queued', 'delivered') AND expires_at <= %s
    ORDER BY expires_at LIMIT %s
"""


async def by_id(
    connection: Connection, tenant_id: TenantId, command_id: DeviceCommandId
) -> DeviceCommandRow | None:
    parameters = {"tenant_id": tenant_id, "command_id": command_id}
    return await fetch_one(connection, _BY_ID, parameters, DeviceCommandRow)


async def by_device(
    connection: Connection,
    tenant_id: TenantId,
    device_id: DeviceId,
    *,
    status: CommandStatus | None = None,
    after: int | None = None,
    limit: int = 50,
) -> Page[DeviceCommandRow]:
    """A device's commands, newest first."""
    parameters = {
        "tenant_id": tenant_id,
        "device_id": device_id,
        "status": status,
        "after": after,
    }
    return await page(connection, _BY_DEVICE, parameters, DeviceCommandRow, limit=limit)


async def waiting(
    connection: Connection, tenant_id: TenantId, device_id: DeviceId, limit: int
) -> list[DeviceCommandId]:
    """A device's open commands, the oldest first."""
    cursor = await connection.execute(_OPEN, (tenant_id, device_id, limit))
    return [DeviceCommandId(row[0]) for row in await cursor.fetchall()]


async def overdue(
    connection: Connection, before: datetime, limit: int
) -> Sequence[tuple[TenantId, DeviceCommandId]]:
    """Open commands of all tenants that ran out; for a connection of the projector role."""
    cursor = await connection.execute(_OVERDUE, (before, limit))
    return [(TenantId(row[0]), DeviceCommandId(row[1])) for row in await cursor.fetchall()]
