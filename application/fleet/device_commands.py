"""Commands for devices: queued by whoever runs them, delivered with heartbeats (broker.md §3.3)."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid5

import msgspec

from application.execute import Done, execute, stream_of
from application.ports import Clock, EventLog, IdSource, StaleStream
from application.ports.fleet import OpenCommands
from application.principals import Caller, DevicePrincipal
from domain import device as d
from domain import device_command as dc
from domain.errors import Conflict, NotFound
from domain.events import StreamAppend
from domain.ids import DeviceCommandId

OPEN_MAX: Final = 50
"""Open commands of one device; a guard rail, counted from the read model."""

_IN_FORCE_HERE: Final[Mapping[dc.CommandKind, Callable[[d.Device], list[d.DeviceEvent]]]] = {
    "lock": d.lock,
    "unlock": d.unlock,
}
"""What the platform does itself, whether or not the device ever hears of it."""

_device: Final = stream_of(d.DeviceRegistered, d.rebuild)
_command: Final = stream_of(dc.DeviceCommandQueued, dc.rebuild)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A device's word about one command."""

    command_id: UUID
    result: dc.CommandResult
    detail: str | None


class DeviceCommands:
    def __init__(self, log: EventLog, waiting: OpenCommands, clock: Clock, ids: IdSource) -> None:
        self._log = log
        self._waiting = waiting
        self._clock = clock
        self._ids = ids

    async def queue(
        self,
        caller: Caller,
        device_id: UUID,
        kind: dc.CommandKind,
        *,
        message: dc.DeviceMessage | None,
        ttl_s: int,
        key: str | None,
    ) -> tuple[dc.DeviceCommand, Done]:
        """Have the device do this; `lock` and `unlock` are in force here in the same commit.

        Raises NotFound (`device_not_found`), Conflict (`device_not_active`,
        `too_many_commands`), Invalid (`message_invalid`).
        """
        device = await self._active(caller, device_id)
        command_id = uuid5(
            caller.command("device_command.queue", key, self._ids.uuid()), device_id.hex
        )
        stream = DeviceCommandId(
            uuid5(command_id, "device_command") if key is not None else self._ids.uuid()
        )
        queued = dc.DeviceCommandQueued(
            device_id=device.id,
            kind=kind,
            message=message,
            expires_at=self._clock.now() + timedelta(seconds=ttl_s),
        )

        async def beside() -> list[StreamAppend]:
            if len(await self._waiting.of(caller.tenant_id, device.id)) >= OPEN_MAX:
                raise Conflict("too_many_commands", extra={"open_max": OPEN_MAX})
            found = await self._active(caller, device_id)
            events = _IN_FORCE_HERE[kind](found) if kind in _IN_FORCE_HERE else []
            append = StreamAppend(
                tenant_id=caller.tenant_id,
                stream_id=device_id,
                expected_version=found.version,
                events=events,
            )
            return [append] if events else []

        done = await execute(
            self._log,
            caller.origin(command_id),
            caller.tenant_id,
            stream,
            _command,
            lambda command: dc.queue(command, queued),
            beside,
        )
        return await self._get(caller, stream), done

    async def complete(self, device: DevicePrincipal, results: Sequence[Result]) -> list[UUID]:
        """Take the device's word for each; which of them are no commands of its.

        Raises CommitFailed.
        """
        unknown: list[UUID] = []
        for each in results:
            command = await self._load(device, each.command_id)
            if command is None or command.queued.device_id != device.device_id:
                unknown.append(each.command_id)
                continue
            await self._append(device, command, dc.complete(command, each.result, each.detail))
        return unknown

    async def due(self, device: DevicePrincipal) -> list[dc.DeviceCommand]:
        """What the device is to be told now: again and again, until it answers or time is up.

        Raises CommitFailed.
        """
        now = self._clock.now()
        due: list[dc.DeviceCommand] = []
        for command_id in await self._waiting.of(device.tenant_id, device.device_id):
            command = await self._load(device, command_id)
            if command is not None and command.is_due(now):
                await self._append(device, command, dc.deliver(command, now))
                due.append(command)
        return due

    async def told(self, device: DevicePrincipal, kind: dc.CommandKind) -> bool:
        """Whether the device is to do this now."""
        now = self._clock.now()
        for command_id in await self._waiting.of(device.tenant_id, device.device_id):
            command = await self._load(device, command_id)
            if command is not None and command.queued.kind == kind and command.is_due(now):
                return True
        return False

    async def _append(
        self,
        device: DevicePrincipal,
        command: dc.DeviceCommand,
        events: Sequence[dc.DeviceCommandEvent],
    ) -> None:
        """When somebody got in between, the next heartbeat says it again."""
        if not events:
            return
        append = StreamAppend(
            tenant_id=device.tenant_id,
            stream_id=command.id,
            expected_version=command.version,
            events=events,
        )
        try:
            await self._log.append(device.origin(self._ids.uuid()), [append])
        except StaleStream:
            return

    async def _load(self, caller: Caller, command_id: UUID) -> dc.DeviceCommand | None:
        return _command(await self._log.load(caller.tenant_id, command_id))

    async def _get(self, caller: Caller, command_id: UUID) -> dc.DeviceCommand:
        command = await self._load(caller, command_id)
        assert command is not None, "it was queued"
        return command

    async def _active(self, caller: Caller, device_id: UUID) -> d.Device:
        device = _device(await self._log.load(caller.tenant_id, device_id))
        if device is None:
            raise NotFound("device_not_found")
        if device.status != "active":
            raise Conflict("device_not_active", "only a paired device takes commands")
        return device
