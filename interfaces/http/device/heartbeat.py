"""`POST /v1/device/heartbeat`: a device says how it is, and hears what it is to do."""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from application.fleet.device_commands import Result
from application.fleet.heartbeats import Said
from application.principals import DevicePrincipal
from domain.device_command import CommandKind, CommandResult, DeviceMessage
from domain.ids import parse, wire
from interfaces.http.json_body import StrictJSON
from interfaces.http.refusals import BODY, WRITE, merged
from interfaces.http.services import Services

RESULTS_MAX: Final = 100
PREFIX: Final = "cmd"

Given = NamedDependency[Services]
Device = NamedDependency[DevicePrincipal]

Line = Annotated[str, msgspec.Meta(min_length=1, max_length=80, pattern=r"^[\x20-\x7e]+$")]
CommandName = Annotated[str, msgspec.Meta(pattern="^cmd_[0-9a-f]{32}$")]


class CommandResultBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of one command; `detail` is a code of the device's own, never a text."""

    id: CommandName
    status: CommandResult
    detail: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_.]{0,63}$")] | None = None


class HeartbeatBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a device is. `seq` counts up from one heartbeat to the next, within one `boot_id`."""

    seq: Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
    boot_id: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{8,64}$")]
    device_time: Annotated[datetime, msgspec.Meta(tz=True)]
    uptime_s: Annotated[int, msgspec.Meta(ge=0, le=2**40)] | None = None
    fw_version: Line | None = None
    app_version: Line | None = None
    sdk_version: Line | None = None
    model_version: Line | None = None
    library_version: Line | None = None
    network: Literal["ethernet", "wifi", "cellular", "unknown"] | None = None
    battery: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    journal_pending: Annotated[int, msgspec.Meta(ge=0, le=2**40)] | None = None
    command_results: Annotated[
        tuple[CommandResultBody, ...], msgspec.Meta(max_length=RESULTS_MAX)
    ] = ()


REPORTED: Final = (
    "uptime_s",
    "fw_version",
    "app_version",
    "sdk_version",
    "model_version",
    "library_version",
    "network",
    "battery",
    "journal_pending",
)


class CommandDue(msgspec.Struct, frozen=True, kw_only=True):
    """Do it once, whatever the number of times that it comes, and say so with the next beat."""

    id: str
    kind: CommandKind
    message: DeviceMessage | None
    expires_at: datetime


class HeartbeatTaken(msgspec.Struct, frozen=True, kw_only=True):
    """What the device is to know. `counted` is false when `seq` did not go on from the last one
    of this `boot_id`; `clock_offset_ms` is positive when its clock is ahead of ours. From
    `renew_after` on, the certificate that it shows is to be renewed."""

    server_time: datetime
    clock_offset_ms: int
    counted: bool
    missed: int | None
    next_heartbeat_s: int
    locked: bool
    certificate_not_after: datetime
    renew_after: datetime
    commands: list[CommandDue]
    unknown_results: list[str]


@post(
    "/v1/device/heartbeat",
    operation_id="sendHeartbeat",
    tags=["Device"],
    summary="Say that the device is there, how it is and what it did; hear what it is to do",
    status_code=200,
    dto=StrictJSON[HeartbeatBody],
    return_dto=None,
    device_operation="heartbeat",
    refusals=merged(BODY, WRITE, {429: ("rate_limited",)}),
)
async def beat(
    data: JSONBody[HeartbeatBody], device: Device, services: Given
) -> Response[HeartbeatTaken]:
    said = Said(
        boot_id=data.boot_id,
        seq=data.seq,
        device_time=data.device_time,
        reported={
            name: str(value) for name in REPORTED if (value := getattr(data, name)) is not None
        },
        results=[_result(each) for each in data.command_results],
    )
    told = await services.heartbeats.beat(device, said)
    taken = HeartbeatTaken(
        server_time=told.server_time,
        clock_offset_ms=told.clock_offset_ms,
        counted=told.counted,
        missed=told.missed,
        next_heartbeat_s=told.next_heartbeat_s,
        locked=told.locked,
        certificate_not_after=told.certificate_not_after,
        renew_after=told.renew_after,
        commands=[
            CommandDue(
                id=wire(PREFIX, each.id),
                kind=each.queued.kind,
                message=each.queued.message,
                expires_at=each.queued.expires_at,
            )
            for each in told.commands
        ],
        unknown_results=[wire(PREFIX, each) for each in told.unknown_results],
    )
    return Response(taken, headers={"cache-control": "no-store"})


def _result(body: CommandResultBody) -> Result:
    command_id = parse(PREFIX, body.id)
    assert command_id is not None, "the pattern says so"
    return Result(command_id=command_id, result=body.status, detail=body.detail)


HANDLERS = (beat,)
