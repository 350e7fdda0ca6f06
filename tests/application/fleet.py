"""A fleet of one till: heartbeats, commands and renewals over doubles that tests look into."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from application.fleet.device_commands import DeviceCommands, Result
from application.fleet.fleet_monitor import FleetMonitor
from application.fleet.heartbeats import Heartbeats, Said, Told
from application.fleet.renewals import Renewals
from application.ports import IssuedCertificate
from application.ports.fleet import DeviceReport, Turned, Waiting
from domain import device_command as dc
from domain import presence as p
from domain.ids import DeviceCommandId, DeviceId, TenantId
from tests import builders
from tests.application.world import (
    BACKEND,
    TILL,
    World,
)
from tests.builders import DEVICE
from tests.spec import TENANT

PRESENCE = p.presence_id(DEVICE)
DAY_S = 86_400


class Presences:
    """`Presences` and `PresenceBook` in memory."""

    def __init__(self) -> None:
        self.heard: dict[DeviceId, p.Heard] = {}
        self.reported: dict[DeviceId, Mapping[str, str]] = {}
        self.told_last: dict[DeviceId, tuple[bool, bool, str | None]] = {}

    async def hear(
        self, tenant_id: TenantId, device_id: DeviceId, beat: p.Beat, reported: Mapping[str, str]
    ) -> p.Heard | None:
        del tenant_id
        heard = p.hear(self.heard.get(device_id), beat)
        if heard is not None:
            self.heard[device_id], self.reported[device_id] = heard, reported
        return heard

    async def of(
        self, tenant_id: TenantId, devices: Sequence[DeviceId]
    ) -> Mapping[DeviceId, DeviceReport]:
        del tenant_id
        return {
            each: DeviceReport(heard=self.heard[each], reported=self.reported[each])
            for each in devices
            if each in self.heard
        }

    async def turned(self, now: datetime, since: datetime, limit: int) -> Sequence[Turned]:
        found: list[Turned] = []
        for device_id, heard in self.heard.items():
            offline, skewed, forked = self.told_last.get(device_id, (False, False, None))
            counted = heard.received_at if offline else max(heard.received_at, since)
            silent = msgspec.structs.replace(heard, received_at=counted)
            verdict = p.status(silent, now) == "offline"
            copied = heard.forks >= p.FORKS_TOLD and forked != heard.fingerprint
            if verdict != offline or p.is_skewed(heard) != skewed or copied:
                found.append(
                    Turned(tenant_id=TENANT, device_id=device_id, heard=heard, offline=verdict)
                )
        return found[:limit]

    async def told(self, turned: Turned) -> None:
        heard = turned.heard
        forked = heard.fingerprint if heard.forks >= p.FORKS_TOLD else None
        self.told_last[turned.device_id] = (turned.offline, p.is_skewed(heard), forked)

    async def forget(self, turned: Turned) -> None:
        del self.heard[turned.device_id]


class Open:
    """Looks for open commands in the whole log, as a read model would know them.

    `late` is what a read model that has fallen behind still shows of any device.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.late: Sequence[DeviceCommandId] | None = None

    def _commands(self) -> list[dc.DeviceCommand]:
        states: dict[object, dc.DeviceCommand] = {}
        for each in self._world.log.read_now():
            if each.event.NAME.startswith("device_command."):
                states[each.stream_id] = dc.evolve(states.get(each.stream_id), each)
        return [state for state in states.values() if state.is_open]

    async def of(self, tenant_id: TenantId, device_id: DeviceId) -> Sequence[DeviceCommandId]:
        if self.late is not None:
            return self.late
        return [
            each.id
            for each in self._commands()
            if (each.tenant_id, each.queued.device_id) == (tenant_id, device_id)
        ]

    async def overdue(self, before: datetime, limit: int) -> Sequence[Waiting]:
        return [
            Waiting(tenant_id=each.tenant_id, command_id=each.id)
            for each in self._commands()
            if each.queued.expires_at <= before
        ][:limit]


class Fleet:
    def __init__(self) -> None:
        self.world = World()
        self.presences, self.open = Presences(), Open(self.world)
        self.seq = 0
        now = self.world.clock.now()
        held = builders.device_paired.default
        self.world.authority.issued[held.certificate_pem] = IssuedCertificate(
            certificate_pem=held.certificate_pem,
            chain_pem="chain",
            fingerprint_sha256=held.fingerprint,
            serial=held.certificate_serial,
            not_before=now,
            not_after=now + timedelta(days=90),
        )
        self.monitor = self.new_monitor()

    def new_monitor(self) -> FleetMonitor:
        world = self.world
        return FleetMonitor(world.log, self.presences, self.open, world.clock, world.ids)

    def commands(self) -> DeviceCommands:
        return DeviceCommands(self.world.log, self.open, self.world.clock, self.world.ids)

    def renewals(self) -> Renewals:
        world = self.world
        return Renewals(
            world.log,
            world.log,
            world.authority,
            self.commands(),
            world.attestations,
            world.clock,
            world.ids,
        )

    async def queue(
        self, kind: dc.CommandKind = "identify", *, ttl_s: int = 3600, key: str | None = None
    ) -> dc.DeviceCommand:
        command, _ = await self.commands().queue(
            BACKEND, DEVICE, kind, message=None, ttl_s=ttl_s, key=key
        )
        return command

    async def beat(
        self, *results: Result, seq: int | None = None, ahead_s: float = 0, boot_id: str = "boot-a"
    ) -> Told:
        world = self.world
        self.seq = self.seq + 1 if seq is None else seq
        heartbeats = Heartbeats(
            world.log,
            self.presences,
            self.commands(),
            self.renewals(),
            world.authority,
            world.limiter,
            world.clock,
        )
        said = Said(
            boot_id=boot_id,
            seq=self.seq,
            device_time=world.clock.now() + timedelta(seconds=ahead_s),
            reported={},
            results=results,
        )
        return await heartbeats.beat(TILL, said)

    def said(self) -> list[str]:
        return self.world.names(PRESENCE)


def done(command: dc.DeviceCommand) -> Result:
    return Result(command_id=command.id, result="done", detail=None)
