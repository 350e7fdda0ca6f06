"""Why a transaction ended as it did: the very events that it was decided on.

The transaction's own events say which version of which stream was read (`device_version` and the
others). What each version rested on is looked up in those streams, which never change. Where no
version was recorded, as by an older release, the stream is read as of the transaction's own
position, and the answer says so: a process may have decided on a state up to a second older.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal
from uuid import UUID

import msgspec

from application.ports import EventLog
from domain import device as d
from domain import enrollment as e
from domain import linked_service as ls
from domain import tenant as t
from domain import transaction as x
from domain import user as u
from domain.events import DomainEvent, Recorded
from domain.ids import TenantId

Source = Literal["device", "tenant", "user", "enrollment", "linked_service"]
What = Literal[
    "device_binding",
    "certificate",
    "tenant_settings",
    "match_policy",
    "person",
    "consent",
    "palm",
    "linked_service",
    "breaker",
]
Basis = Literal["recorded", "position"]


class Determinant(msgspec.Struct, frozen=True, kw_only=True):
    """One event that a decision rested on.

    `read_as_of` is the position as of which its stream was read: that of the last event that
    had been seen, of which the one that counts may be an earlier.
    """

    what: What
    source: Source
    event: Recorded
    read_as_of: int
    basis: Basis


class _Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that was read: up to `version`, or where that is 0 up to `position`."""

    source: Source
    stream_id: UUID
    version: int
    position: int


class Explanations:
    def __init__(self, log: EventLog) -> None:
        self._log = log

    async def determined_by(
        self, tenant_id: TenantId, transaction: Sequence[Recorded]
    ) -> list[Determinant]:
        """What the transaction rests on, as far as it has come; `transaction` are its events."""
        certificate = ""
        found: list[Determinant] = []
        for recorded in transaction:
            if isinstance(recorded.event, x.TransactionReceived):
                certificate = recorded.event.certificate_fingerprint
        for reading in _readings(tenant_id, transaction):
            past = await self._log.load(tenant_id, reading.stream_id)
            found += _determinants(reading, past, certificate)
        return found


def _readings(tenant_id: TenantId, transaction: Sequence[Recorded]) -> list[_Reading]:
    """One per source; of two that name the same source the later counts."""
    readings: dict[Source, _Reading] = {}

    def read(source: Source, stream_id: UUID | None, version: int) -> None:
        if stream_id is not None and (version or source not in readings):
            readings[source] = _Reading(
                source=source, stream_id=stream_id, version=version, position=recorded.position
            )

    for recorded in transaction:
        match recorded.event:
            case x.TransactionReceived() as event:
                readings.clear()
                read("device", event.device_id, event.device_version)
                read("tenant", tenant_id, event.tenant_version)
            case x.TransactionIdentified() as event:
                read("user", event.user_id, event.user_version)
                read("enrollment", event.palm_ref, 0)
            case x.TransactionAuthorizationRequested() as event:
                read("linked_service", event.service_id, event.service_version)
            case x.TransactionRefused() as event:
                read("tenant", tenant_id, event.tenant_version)
                read("user", event.user_id, event.user_version)
            case x.TransactionFailedClosed() as event:
                read("linked_service", event.service_id, event.service_version)
            case _:
                pass
    return list(readings.values())


def _determinants(
    reading: _Reading, past: Sequence[Recorded], certificate: str
) -> list[Determinant]:
    seen = [
        recorded
        for recorded in past
        if (
            recorded.version <= reading.version
            if reading.version
            else recorded.position <= reading.position
        )
    ]
    found: list[Determinant] = []
    for what, counts in _COUNTS[reading.source]:
        deciding = [recorded for recorded in seen if counts(recorded.event, certificate)]
        if deciding:
            found.append(
                Determinant(
                    what=what,
                    source=reading.source,
                    event=deciding[-1],
                    read_as_of=seen[-1].position,
                    basis="recorded" if reading.version else "position",
                )
            )
    return found


def _binds(event: DomainEvent, _: str) -> bool:
    return isinstance(event, d.DeviceRegistered)


def _certifies(event: DomainEvent, certificate: str) -> bool:
    """Whatever gave the device the certificate that it spoke with."""
    return getattr(event, "fingerprint", None) == certificate


def _sets(event: DomainEvent, _: str) -> bool:
    return isinstance(event, t.TenantCreated | t.TenantSettingsChanged)


def _sets_policy(event: DomainEvent, _: str) -> bool:
    return isinstance(event, t.TenantCreated) or (
        isinstance(event, t.TenantSettingsChanged) and "match_policy" in event.changed
    )


def _is_of_person(event: DomainEvent, _: str) -> bool:
    return isinstance(event, u.UserSignedUp | u.UserSuspended | u.UserResumed)


def _consents(event: DomainEvent, _: str) -> bool:
    return (
        isinstance(event, u.UserConsentGranted | u.UserConsentWithdrawn)
        and event.consent_type == u.PALM_ENROLLMENT
    )


def _enrols(event: DomainEvent, _: str) -> bool:
    return isinstance(event, e.EnrollmentCompleted)


def _routes(event: DomainEvent, _: str) -> bool:
    """The last word on a service, whatever it is, says how it is called, or that it is not."""
    return not isinstance(event, ls.LinkedServiceBreakerSet)


def _controls(event: DomainEvent, _: str) -> bool:
    return isinstance(event, ls.LinkedServiceBreakerSet)


_COUNTS: Final[dict[Source, tuple[tuple[What, Callable[[DomainEvent, str], bool]], ...]]] = {
    "device": (("device_binding", _binds), ("certificate", _certifies)),
    "tenant": (("tenant_settings", _sets), ("match_policy", _sets_policy)),
    "user": (("person", _is_of_person), ("consent", _consents)),
    "enrollment": (("palm", _enrols),),
    "linked_service": (("linked_service", _routes), ("breaker", _controls)),
}
"""Of each source, which of its events decide what; the last of them counts."""
