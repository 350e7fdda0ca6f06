"""Presence: whether a device is heard of, from its heartbeats (reference broker.md §3.3).

Heartbeats stay outside the log, one row a device. What a stream says is only what somebody must
be told of: that a device went silent, that it came back, that its clock is off, and that two
devices speak with one certificate.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import ClassVar, Final, Literal
from uuid import UUID, uuid5

import msgspec

from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import DeviceId

LATE_AFTER: Final = 1.5
OFFLINE_AFTER: Final = 3
"""Intervals without a heartbeat."""

SKEW_MAX_MS: Final = 120_000
FORKS_TOLD: Final = 2
"""A boot that was over and speaks on may be one delayed packet; twice it is somebody else."""

PresenceStatus = Literal["never", "online", "late", "offline"]


class DeviceWentOffline(DomainEvent, frozen=True, kw_only=True):
    """Three heartbeats of a device did not come."""

    NAME: ClassVar[str] = "device.went_offline"
    device_id: DeviceId
    last_heard_at: datetime


class DeviceCameBack(DomainEvent, frozen=True, kw_only=True):
    """A device that was offline is heard of again; before, it was heard of at `offline_since`."""

    NAME: ClassVar[str] = "device.came_back"
    device_id: DeviceId
    offline_since: datetime


class DeviceClockSkewed(DomainEvent, frozen=True, kw_only=True):
    """A device's clock is more than two minutes off: positive is ahead of ours."""

    NAME: ClassVar[str] = "device.clock_skewed"
    device_id: DeviceId
    offset_ms: int


class DeviceClockCorrected(DomainEvent, frozen=True, kw_only=True):
    """A device's clock is right again."""

    NAME: ClassVar[str] = "device.clock_corrected"
    device_id: DeviceId
    offset_ms: int


class DeviceCertificateForked(DomainEvent, frozen=True, kw_only=True):
    """Two running devices speak with this certificate in turns: its key was copied."""

    NAME: ClassVar[str] = "device.certificate_forked"
    device_id: DeviceId
    fingerprint: str


PresenceEvent = (
    DeviceWentOffline
    | DeviceCameBack
    | DeviceClockSkewed
    | DeviceClockCorrected
    | DeviceCertificateForked
)


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """One heartbeat as it arrived. `seq` counts the heartbeats of one run of the device, `boot_id`
    names the run; `interval_s` is when the next one is wanted."""

    fingerprint: str
    boot_id: str
    seq: int
    device_time: datetime
    received_at: datetime
    interval_s: int


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a device from its heartbeats. `missed` are those of this run that never
    came, `forks` how often a run that was over spoke on."""

    fingerprint: str
    boot_id: str
    seq: int
    received_at: datetime
    interval_s: int
    offset_ms: int
    missed: int = 0
    earlier_boot_id: str | None = None
    earlier_seq: int = 0
    forks: int = 0


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """What was said last of one device."""

    version: int
    offline_since: datetime | None = None
    skewed: bool = False
    forked: str | None = None


def presence_id(device_id: UUID) -> UUID:
    """The stream of a device's presence: its own, so that it moves no device's version."""
    return uuid5(device_id, "presence")


def hear(heard: Heard | None, beat: Beat) -> Heard | None:
    """What is known after one more heartbeat; None when it says nothing new.

    A number that does not go on from the last one of its run is a repeat, a late packet or a
    rollback, and is not counted.
    """
    offset_ms = round((beat.device_time - beat.received_at).total_seconds() * 1000)
    fresh = Heard(
        fingerprint=beat.fingerprint,
        boot_id=beat.boot_id,
        seq=beat.seq,
        received_at=beat.received_at,
        interval_s=beat.interval_s,
        offset_ms=offset_ms,
    )
    if heard is None:
        return fresh
    replace = msgspec.structs.replace
    renewed = heard.fingerprint != beat.fingerprint
    if beat.boot_id == heard.boot_id:
        if beat.seq <= heard.seq:
            return None
        return replace(
            fresh,
            missed=heard.missed + beat.seq - heard.seq - 1,
            earlier_boot_id=heard.earlier_boot_id,
            earlier_seq=heard.earlier_seq,
            forks=0 if renewed else heard.forks,
        )
    spoke_on = beat.boot_id == heard.earlier_boot_id
    if spoke_on and beat.seq <= heard.earlier_seq:
        return None
    return replace(
        fresh,
        earlier_boot_id=heard.boot_id,
        earlier_seq=heard.seq,
        forks=0 if renewed else heard.forks + spoke_on,
    )


def status(heard: Heard | None, now: datetime) -> PresenceStatus:
    """As of now, by the interval that the device was last told."""
    if heard is None:
        return "never"
    silent = (now - heard.received_at) / timedelta(seconds=heard.interval_s)
    if silent > OFFLINE_AFTER:
        return "offline"
    return "late" if silent > LATE_AFTER else "online"


def is_skewed(heard: Heard) -> bool:
    return abs(heard.offset_ms) > SKEW_MAX_MS


def tell(
    presence: Presence | None, device_id: DeviceId, heard: Heard, *, offline: bool
) -> list[PresenceEvent]:
    """What has turned since it was last told; `offline` is the present verdict."""
    said = presence or Presence(version=0)
    events: list[PresenceEvent] = []
    if offline and said.offline_since is None:
        events.append(DeviceWentOffline(device_id=device_id, last_heard_at=heard.received_at))
    elif not offline and said.offline_since is not None:
        events.append(DeviceCameBack(device_id=device_id, offline_since=said.offline_since))
    if is_skewed(heard) and not said.skewed:
        events.append(DeviceClockSkewed(device_id=device_id, offset_ms=heard.offset_ms))
    elif not is_skewed(heard) and said.skewed:
        events.append(DeviceClockCorrected(device_id=device_id, offset_ms=heard.offset_ms))
    if heard.forks >= FORKS_TOLD and said.forked != heard.fingerprint:
        events.append(DeviceCertificateForked(device_id=device_id, fingerprint=heard.fingerprint))
    return events


def evolve(presence: Presence | None, recorded: Recorded) -> Presence:
    said = msgspec.structs.replace(presence or Presence(version=0), version=recorded.version)
    replace = msgspec.structs.replace
    match recorded.event:
        case DeviceWentOffline() as event:
            return replace(said, offline_since=event.last_heard_at)
        case DeviceCameBack():
            return replace(said, offline_since=None)
        case DeviceClockSkewed():
            return replace(said, skewed=True)
        case DeviceClockCorrected():
            return replace(said, skewed=False)
        case DeviceCertificateForked() as event:
            return replace(said, forked=event.fingerprint)
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> Presence | None:
    return fold(evolve, past)
