"""Device CA: which authority signs devices, which others are trusted, and the change from one to
the next (reference broker.md §3.2).

A change goes in steps, and each step can be taken back until the last: the next CA is announced
and trusted; it issues, and devices renew; the one before is retired. Authorities have numbers. The
first was made with the platform and is in no event.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import ClassVar, Final, Literal
from uuid import UUID, uuid5

import msgspec

from domain.errors import Conflict
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent
from domain.ids import PLATFORM

DEVICE_CA: Final = uuid5(PLATFORM, "device_ca")
"""The platform's one stream of this kind."""

FIRST: Final = 1

Phase = Literal["standby", "announced", "issuing"]


class DeviceCAAnnounced(DomainEvent, frozen=True, kw_only=True):
    """There is a next CA: trusted from now on, and issuing nothing yet."""

    NAME: ClassVar[str] = "device_ca.announced"
    authority: int
    certificate_pem: str
    fingerprint: str
    not_after: datetime


class DeviceCAIssuingStarted(DomainEvent, frozen=True, kw_only=True):
    """New certificates are by this CA; devices are told to renew, spread over so many seconds."""

    NAME: ClassVar[str] = "device_ca.issuing_started"
    authority: int
    replaces: int
    spread_s: int


class DeviceCARolledBack(DomainEvent, frozen=True, kw_only=True):
    """One step back: the CA of before issues again, or the announced one is withdrawn."""

    NAME: ClassVar[str] = "device_ca.rolled_back"
    authority: int
    phase: Literal["announced", "standby"]
    left_behind: int = 0


class DeviceCARetired(DomainEvent, frozen=True, kw_only=True):
    """Certificates by this CA open nothing any more; `left_behind` devices still held one.

    They can recover, by the key of what they hold.
    """

    NAME: ClassVar[str] = "device_ca.retired"
    authority: int
    left_behind: int


class DeviceCARegenerated(DomainEvent, frozen=True, kw_only=True):
    """A new CA in the place of all before it, in which nobody may believe: every device pairs anew
    (003 §3.9)."""

    NAME: ClassVar[str] = "device_ca.regenerated"
    authority: int
    certificate_pem: str
    fingerprint: str
    not_after: datetime
    distrusted: tuple[int, ...]


DeviceCAEvent = (
    DeviceCAAnnounced
    | DeviceCAIssuingStarted
    | DeviceCARolledBack
    | DeviceCARetired
    | DeviceCARegenerated
)


class MadeAuthority(msgspec.Struct, frozen=True, kw_only=True):
    """A CA whose key is kept; nothing is signed with it before an event says so."""

    authority: int
    certificate_pem: str
    fingerprint: str
    not_after: datetime


class DeviceCA(msgspec.Struct, frozen=True, kw_only=True):
    """`other` is trusted besides the one that issues. `retired` ones open nothing, but the key of a
    certificate by them is still proof of who its device is; of `distrusted` ones nothing is.

    `certificates` (PEM) has all but the first.
    """

    version: int = 0
    phase: Phase = "standby"
    issuing: int = FIRST
    other: int | None = None
    retired: tuple[int, ...] = ()
    distrusted: tuple[int, ...] = ()
    certificates: Mapping[int, str] = {}
    issuing_since: datetime | None = None
    spread_s: int = 0

    @property
    def trusted(self) -> tuple[int, ...]:
        return (self.issuing,) if self.other is None else (self.issuing, self.other)

    @property
    def highest(self) -> int:
        """The highest number that a CA ever had."""
        return max((FIRST, *self.certificates))

    def renewal_from(self, device_id: UUID) -> datetime | None:
        """From when a device whose certificate is by another CA is told to renew: each at its own
        moment of the time over which they are spread."""
        if self.issuing_since is None:
            return None
        return self.issuing_since + timedelta(seconds=device_id.int % (self.spread_s + 1))


def announce(ca: DeviceCA, made: MadeAuthority) -> list[DeviceCAEvent]:
    check_standby(ca)
    return [
        DeviceCAAnnounced(
            authority=made.authority,
            certificate_pem=made.certificate_pem,
            fingerprint=made.fingerprint,
            not_after=made.not_after,
        )
    ]


def start_issuing(ca: DeviceCA, *, spread_s: int) -> list[DeviceCAEvent]:
    if ca.phase != "announced" or ca.other is None:
        raise Conflict("rotation_phase_wrong", f"announce the next CA first; it is {ca.phase}")
    return [DeviceCAIssuingStarted(authority=ca.other, replaces=ca.issuing, spread_s=spread_s)]


def roll_back(ca: DeviceCA, *, holders: int, force: bool) -> list[DeviceCAEvent]:
    """`holders` are the devices that speak with certificates of the CA that does not issue.

    From `issuing` nobody is dropped. From `announced` the other CA is withdrawn, which drops them.
    Raises Conflict: `rotation_phase_wrong`, `devices_left_behind`.
    """
    if ca.phase == "issuing":
        return [DeviceCARolledBack(authority=ca.issuing, phase="announced")]
    if ca.phase != "announced" or ca.other is None:
        raise Conflict("rotation_phase_wrong", "there is nothing to take back")
    _check_left(holders, force=force)
    return [DeviceCARolledBack(authority=ca.other, phase="standby", left_behind=holders)]


def finalize(ca: DeviceCA, *, holders: int, force: bool) -> list[DeviceCAEvent]:
    """Raises Conflict: `rotation_phase_wrong`, `devices_left_behind`."""
    if ca.phase != "issuing" or ca.other is None:
        raise Conflict("rotation_phase_wrong", f"the next CA does not issue yet; it is {ca.phase}")
    _check_left(holders, force=force)
    return [DeviceCARetired(authority=ca.other, left_behind=holders)]


def regenerate(ca: DeviceCA, made: MadeAuthority) -> list[DeviceCAEvent]:
    return [
        DeviceCARegenerated(
            authority=made.authority,
            certificate_pem=made.certificate_pem,
            fingerprint=made.fingerprint,
            not_after=made.not_after,
            distrusted=tuple(sorted({*ca.trusted, *ca.retired})),
        )
    ]


def check_standby(ca: DeviceCA) -> None:
    """Raises Conflict (`rotation_under_way`)."""
    if ca.phase != "standby":
        raise Conflict("rotation_under_way", f"the phase is {ca.phase}")


def _check_left(holders: int, *, force: bool) -> None:
    if holders and not force:
        raise Conflict(
            "devices_left_behind",
            f"{holders} devices still speak with certificates of the other CA",
            extra={"left_behind": holders},
        )


def evolve(ca: DeviceCA, recorded: Recorded) -> DeviceCA:
    ca = msgspec.structs.replace(ca, version=recorded.version)
    replace = msgspec.structs.replace
    match recorded.event:
        case DeviceCAAnnounced() as event:
            known = {**ca.certificates, event.authority: event.certificate_pem}
            return replace(ca, phase="announced", other=event.authority, certificates=known)
        case DeviceCAIssuingStarted() as event:
            return replace(
                ca,
                phase="issuing",
                issuing=event.authority,
                other=event.replaces,
                issuing_since=recorded.recorded_at,
                spread_s=event.spread_s,
            )
        case DeviceCARolledBack(phase="announced") if ca.other is not None:
            # Those that have changed already change back, each at its own moment again.
            return replace(
                ca,
                phase="announced",
                issuing=ca.other,
                other=ca.issuing,
                issuing_since=recorded.recorded_at,
            )
        case DeviceCARolledBack(authority=gone) | DeviceCARetired(authority=gone):
            return replace(ca, phase="standby", other=None, retired=(*ca.retired, gone))
        case DeviceCARegenerated() as event:
            return replace(
                ca,
                phase="standby",
                issuing=event.authority,
                other=None,
                retired=(),
                distrusted=tuple(sorted({*ca.distrusted, *event.distrusted})),
                certificates={**ca.certificates, event.authority: event.certificate_pem},
                issuing_since=recorded.recorded_at,
                spread_s=0,
            )
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> DeviceCA:
    """A platform that has never changed its CA has a state, too."""
    ca = DeviceCA()
    for recorded in past:
        ca = evolve(ca, recorded)
    return ca
