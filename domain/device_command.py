"""DeviceCommand: what a device is to do, delivered until it says what became of it.

At least once: a device knows a command by its id and does it once (reference broker.md §3.3).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from domain.errors import Invalid
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import DeviceCommandId, DeviceId, TenantId

CommandKind = Literal[
    "lock",
    "unlock",
    "restart",
    "identify",
    "show_message",
    "update_config",
    "sync_library",
    "rotate_cert",
    "collect_logs",
]
DeviceMessage = Literal["out_of_service", "maintenance", "ask_staff", "welcome"]
"""What a device may be told to show, by name: it has the words in its own languages."""

CommandResult = Literal["done", "failed", "rejected"]
CommandStatus = Literal["queued", "delivered", "done", "failed", "rejected", "expired"]


class DeviceCommandQueued(DomainEvent, frozen=True, kw_only=True):
    """The device is to do this at its next heartbeat, if that comes before `expires_at`."""

    NAME: ClassVar[str] = "device_command.queued"
    device_id: DeviceId
    kind: CommandKind
    message: DeviceMessage | None
    expires_at: datetime


class DeviceCommandDelivered(DomainEvent, frozen=True, kw_only=True):
    """The command stood in an answer to the device for the first time."""

    NAME: ClassVar[str] = "device_command.delivered"


class DeviceCommandCompleted(DomainEvent, frozen=True, kw_only=True):
    """The device said what became of the command; `detail` is its own code for why."""

    NAME: ClassVar[str] = "device_command.completed"
    device_id: DeviceId
    kind: CommandKind
    result: CommandResult
    detail: str | None = None


class DeviceCommandExpired(DomainEvent, frozen=True, kw_only=True):
    """The device said nothing in time; the command is not delivered any more."""

    NAME: ClassVar[str] = "device_command.expired"
    device_id: DeviceId
    kind: CommandKind


DeviceCommandEvent = (
    DeviceCommandQueued | DeviceCommandDelivered | DeviceCommandCompleted | DeviceCommandExpired
)


class DeviceCommand(msgspec.Struct, frozen=True, kw_only=True):
    id: DeviceCommandId
    tenant_id: TenantId
    version: int
    queued: DeviceCommandQueued
    queued_at: datetime
    status: CommandStatus
    detail: str | None = None
    delivered_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        return self.status in ("queued", "delivered")

    def is_due(self, now: datetime) -> bool:
        """Whether it belongs into the next answer to the device."""
        return self.is_open and now < self.queued.expires_at


def queue(command: DeviceCommand | None, queued: DeviceCommandQueued) -> list[DeviceCommandEvent]:
    """The same command again says nothing: its first end counts."""
    if (queued.kind == "show_message") != (queued.message is not None):
        raise Invalid("message_invalid", "show_message has a message, and no other command has")
    if command is not None:
        asked = msgspec.structs.replace(queued, expires_at=command.queued.expires_at)
        if command.queued != asked:
            raise Invalid("idempotency_key_reused", "this key was used for another request")
        return []
    return [queued]


def deliver(command: DeviceCommand, now: datetime) -> list[DeviceCommandEvent]:
    first = command.status == "queued" and command.is_due(now)
    return [DeviceCommandDelivered()] if first else []


def complete(
    command: DeviceCommand, result: CommandResult, detail: str | None
) -> list[DeviceCommandEvent]:
    """The device's first word counts; one that comes after the end is still what it did."""
    if not command.is_open and command.status != "expired":
        return []
    asked = command.queued
    return [
        DeviceCommandCompleted(
            device_id=asked.device_id, kind=asked.kind, result=result, detail=detail
        )
    ]


def expire(command: DeviceCommand, now: datetime) -> list[DeviceCommandEvent]:
    if not command.is_open or command.is_due(now):
        return []
    asked = command.queued
    return [DeviceCommandExpired(device_id=asked.device_id, kind=asked.kind)]


def evolve(command: DeviceCommand | None, recorded: Recorded) -> DeviceCommand:
    replace = msgspec.structs.replace
    match recorded.event:
        case DeviceCommandQueued() as event:
            return DeviceCommand(
                id=DeviceCommandId(recorded.stream_id),
                tenant_id=recorded.tenant_id,
                version=recorded.version,
                queued=event,
                queued_at=recorded.recorded_at,
                status="queued",
            )
        case DeviceCommandDelivered() if command is not None:
            return replace(
                command,
                version=recorded.version,
                status="delivered",
                delivered_at=recorded.recorded_at,
            )
        case DeviceCommandCompleted() as event if command is not None:
            return replace(
                command,
                version=recorded.version,
                status=event.result,
                detail=event.detail,
                ended_at=recorded.recorded_at,
            )
        case DeviceCommandExpired() if command is not None:
            return replace(
                command,
                version=recorded.version,
                status="expired",
                ended_at=recorded.recorded_at,
            )
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> DeviceCommand | None:
    return fold(evolve, past)
