"""Heartbeats: a device says how it is, and is told what to do (reference broker.md §3.3)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from application.admission import admitted
from application.fleet.certificates import told_to_renew
from application.fleet.device_commands import DeviceCommands, Result
from application.fleet.renewals import Renewals
from application.ports import CertificateAuthority, Clock, RateLimiter, Streams
from application.ports.fleet import Presences
from application.principals import DevicePrincipal
from domain import device as d
from domain import device_command as dc
from domain.errors import TooMany, Unauthenticated
from domain.presence import Beat

PER_MINUTE: Final = 60


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a device says of itself. `reported` is shown to its owners as its own word."""

    boot_id: str
    seq: int
    device_time: datetime
    reported: Mapping[str, str]
    results: Sequence[Result]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What it is told. `counted` is false for a heartbeat that says nothing new: an old number
    of the same run. `missed` are the run's heartbeats that never came."""

    server_time: datetime
    clock_offset_ms: int
    counted: bool
    missed: int | None
    next_heartbeat_s: int
    locked: bool
    certificate_not_after: datetime
    renew_after: datetime
    commands: Sequence[dc.DeviceCommand]
    unknown_results: Sequence[UUID]


class Heartbeats:
    def __init__(
        self,
        streams: Streams,
        presences: Presences,
        commands: DeviceCommands,
        renewals: Renewals,
        authority: CertificateAuthority,
        limiter: RateLimiter,
        clock: Clock,
    ) -> None:
        self._streams = streams
        self._presences = presences
        self._commands = commands
        self._renewals = renewals
        self._authority = authority
        self._limiter = limiter
        self._clock = clock

    async def beat(self, device: DevicePrincipal, said: Said) -> Told:
        """Raises TooMany (`rate_limited`), Unauthenticated, Forbidden, CommitFailed."""
        tenant = await admitted(self._streams, device, "heartbeat")
        if not await self._limiter.hit(
            "heartbeat.device", device.device_id.hex, limit=PER_MINUTE, per_s=60
        ):
            raise TooMany("rate_limited", retry_after_s=60)
        now = self._clock.now()
        interval_s = tenant.settings.heartbeat_s
        beat = Beat(
            fingerprint=device.fingerprint,
            boot_id=said.boot_id,
            seq=said.seq,
            device_time=said.device_time,
            received_at=now,
            interval_s=interval_s,
        )
        heard = await self._presences.hear(device.tenant_id, device.device_id, beat, said.reported)
        await self._renewals.used(device)
        unknown = await self._commands.complete(device, said.results)
        commands = await self._commands.due(device)
        state = await self._streams.state(device.tenant_id, device.device_id, d.rebuild)
        shown = None if state is None else state.certificate_of(device.fingerprint)
        if state is None or shown is None:
            raise Unauthenticated("device_unknown")
        issued = self._authority.reread(shown.certificate_pem)
        return Told(
            server_time=now,
            clock_offset_ms=round((said.device_time - now).total_seconds() * 1000),
            counted=heard is not None,
            missed=None if heard is None else heard.missed,
            next_heartbeat_s=interval_s,
            locked=state.locked,
            certificate_not_after=issued.not_after,
            renew_after=told_to_renew(
                issued, tenant.settings, self._authority.state, device.device_id
            ),
            commands=commands,
            unknown_results=unknown,
        )
