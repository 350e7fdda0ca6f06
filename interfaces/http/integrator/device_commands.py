"""`/v1/devices/{id}/commands`: have a device do something, and see what became of it."""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from application.principals import Manager
from domain.device_command import CommandKind, CommandStatus, DeviceCommand, DeviceMessage
from domain.ids import DeviceId, wire
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import (
    Cursor,
    IdempotencyKey,
    Limit,
    MinPosition,
    cursor,
    header_key,
    opaque,
    path_id,
    reading,
)
from interfaces.http.positions import positioned
from interfaces.http.refusals import BODY, KEY, PAGE, WRITE, merged
from interfaces.http.services import Services
from projections import device_commands as view

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

PREFIX: Final = "cmd"
NOT_FOUND: Final = "device_not_found"
DAY_S: Final = 86_400


class NewCommand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the device is to do within `ttl_s`. `lock` and `unlock` are in force here at once,
    whether or not the device is heard of; `message` goes with `show_message` only."""

    kind: CommandKind
    message: DeviceMessage | None = None
    ttl_s: Annotated[int, msgspec.Meta(ge=10, le=30 * DAY_S)] = DAY_S


class CommandShown(msgspec.Struct, frozen=True, kw_only=True):
    """A command. `detail` is the device's own code; `ended_at` is when it answered, or when time
    was up."""

    id: str
    device_id: str
    kind: CommandKind
    message: DeviceMessage | None
    status: CommandStatus
    detail: str | None
    queued_at: datetime
    expires_at: datetime
    delivered_at: datetime | None
    ended_at: datetime | None


class CommandPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[CommandShown]
    next: str | None


def _queued(command: DeviceCommand) -> CommandShown:
    """As the log has it: a repeat under the same key shows what has come of it since."""
    return CommandShown(
        id=wire(PREFIX, command.id),
        device_id=wire("dev", command.queued.device_id),
        kind=command.queued.kind,
        message=command.queued.message,
        status=command.status,
        detail=command.detail,
        queued_at=command.queued_at,
        expires_at=command.queued.expires_at,
        delivered_at=command.delivered_at,
        ended_at=command.ended_at,
    )


def _row(row: view.DeviceCommandRow) -> CommandShown:
    return CommandShown(
        id=wire(PREFIX, row.command_id),
        device_id=wire("dev", row.device_id),
        kind=row.kind,
        message=row.message,
        status=row.status,
        detail=row.detail,
        queued_at=row.queued_at,
        expires_at=row.expires_at,
        delivered_at=row.delivered_at,
        ended_at=row.ended_at,
    )


@post(
    "/v1/devices/{device_id:str}/commands",
    operation_id="queueCommand",
    tags=["Devices"],
    summary="Have a device do something at its next heartbeat; a lock is in force at once",
    dto=StrictJSON[NewCommand],
    return_dto=None,
    permission="devices.write",
    request_max_body_size=65_536,
    refusals=merged(
        BODY,
        KEY,
        WRITE,
        {
            404: (NOT_FOUND,),
            409: ("device_not_active", "too_many_commands"),
            422: ("message_invalid",),
        },
    ),
)
async def queue(
    request: Request[Any, Any, Any],
    device_id: FromPath[str],
    data: JSONBody[NewCommand],
    integrator: Integrator,
    services: Given,
    idempotency_key: IdempotencyKey = None,
) -> Response[CommandShown]:
    del idempotency_key  # declared for OpenAPI; read from the raw headers to see a second one
    command, done = await services.device_commands.queue(
        integrator,
        path_id("dev", device_id, NOT_FOUND),
        data.kind,
        message=data.message,
        ttl_s=data.ttl_s,
        key=header_key(request),
    )
    return Response(_queued(command), headers=positioned(done))


@get(
    "/v1/devices/{device_id:str}/commands",
    operation_id="listCommands",
    tags=["Devices"],
    summary="What a device was told to do, newest first",
    permission="devices.read",
    refusals=merged(PAGE, {404: (NOT_FOUND,)}),
)
async def index(
    device_id: FromPath[str],
    integrator: Integrator,
    services: Given,
    page: Cursor = None,
    limit: Limit = 50,
    min_position: MinPosition = None,
    status: FromQuery[CommandStatus | None] = None,
) -> CommandPage:
    found = DeviceId(path_id("dev", device_id, NOT_FOUND))
    after = cursor(page)
    await services.devices.get(integrator.tenant_id, found)
    async with reading(services, integrator.tenant_id, view.READ_MODEL, min_position) as connection:
        rows = await view.by_device(
            connection, integrator.tenant_id, found, status=status, after=after, limit=limit
        )
    return CommandPage(items=[_row(row) for row in rows.rows], next=opaque(rows.next))


HANDLERS = (queue, index)
