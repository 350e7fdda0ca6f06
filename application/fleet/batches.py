"""Batches: many devices of one kind expected at once, each paired by whoever stands at it.

A member of a batch is an activation slot until it is paired: a device that waits, whose pairing
code is drawn when somebody asks for it. So a roll-out of hundreds needs no hundreds of live codes
(reference broker.md §3.1).
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol
from uuid import UUID, uuid5

import msgspec

from application.execute import execute, stream_of
from application.fleet.devices import Devices
from application.ports import EventLog, IdSource, StaleStream
from application.principals import Caller
from domain import device as d
from domain.errors import Invalid, NotFound
from domain.events import StreamAppend
from domain.ids import DeviceId, TenantId

SLOTS_MAX: Final = 500
"""In one request: they are one commit."""
AT_ONCE: Final = 32

_rebuild: Final = stream_of(d.DeviceRegistered, d.rebuild)


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """What tells one device of a batch from the others."""

    name: str
    serial: str | None = None


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """The slots of one request, in its order, and where the log has them."""

    devices: Sequence[DeviceId]
    position: int


class Waiting(Protocol):
    async def slots(self, tenant_id: TenantId, batch: str) -> Sequence[DeviceId] | None:
        """The devices of a batch that wait to be paired, as of the end of the log; None for a
        batch that never was. Raises Unavailable."""
        ...


class Batches:
    def __init__(self, log: EventLog, devices: Devices, waiting: Waiting, ids: IdSource) -> None:
        self._log = log
        self._devices = devices
        self._waiting = waiting
        self._ids = ids

    async def add(
        self, caller: Caller, kind: d.DeviceRegistered, slots: Sequence[Slot], key: str | None
    ) -> Made:
        """So many devices as `kind` says, all of them or none; a repeat adds none.

        Raises Invalid (`serial_twice`, and what `Devices.register` raises), CommitFailed.
        """
        serials = [each.serial for each in slots if each.serial is not None]
        if len(set(serials)) != len(serials):
            raise Invalid("serial_twice", "a serial stands twice")
        await self._devices.check_binding(caller.tenant_id, kind)
        command_id = caller.command("device_batch.add", key, self._ids.uuid())
        asked = {
            _numbered(command_id, number): msgspec.structs.replace(
                kind, name=slot.name, serial=slot.serial
            )
            for number, slot in enumerate(slots)
        }
        appends = [
            StreamAppend(
                tenant_id=caller.tenant_id,
                stream_id=device_id,
                expected_version=0,
                events=d.register(None, registered),
            )
            for device_id, registered in asked.items()
        ]
        try:
            appended = await self._log.append(caller.origin(command_id), appends)
        except StaleStream:
            await self._check_repeat(caller.tenant_id, command_id, asked)
            raise
        if appended.replayed:
            await self._check_repeat(caller.tenant_id, command_id, asked)
        return Made(devices=tuple(asked), position=appended.last_position)

    async def revoke(self, caller: Caller, batch: str, reason: d.RevocationReason) -> int:
        """Nobody can pair what is still waiting of this batch; devices that were paired stay.

        How many that were. Raises NotFound (`device_batch_not_found`), Conflict, CommitFailed.
        """
        slots = await self._waiting.slots(caller.tenant_id, batch)
        if slots is None:
            raise NotFound("device_batch_not_found")
        room = asyncio.Semaphore(AT_ONCE)

        async def one(device_id: DeviceId) -> bool:
            async with room:
                done = await execute(
                    self._log,
                    caller.origin(self._ids.uuid()),
                    caller.tenant_id,
                    device_id,
                    _rebuild,
                    lambda found: d.revoke_slot(found, reason),
                )
            return bool(done.events)

        return sum(await asyncio.gather(*(one(each) for each in slots)))

    async def _check_repeat(
        self, tenant_id: TenantId, command_id: UUID, asked: Mapping[DeviceId, d.DeviceRegistered]
    ) -> None:
        """Raises Invalid (`idempotency_key_reused`) unless just these were made then."""
        beyond = await self._log.load(tenant_id, _numbered(command_id, len(asked)))
        for device_id, registered in asked.items():
            device = _rebuild(await self._log.load(tenant_id, device_id))
            if beyond or device is None or device.registered != registered:
                raise Invalid("idempotency_key_reused", "this key was used for another request")


def _numbered(command_id: UUID, number: int) -> DeviceId:
    return DeviceId(uuid5(command_id, f"device:{number}"))
