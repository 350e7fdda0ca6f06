"""Enrollment: one palm on its way to the vendor and back. Its id is the palm's reference there.

The intent (`enrollment.started`) is durable before the vendor hears of the palm, so a crash
leaves something that can be finished or cleaned up, never an unknown template.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import DeviceId, PalmRef, TenantId, UserId
from domain.palm import Hand


class EnrollmentStarted(DomainEvent, frozen=True, kw_only=True):
    """A palm of this person is about to be given to the vendor.

    `quality` (0 to 100), `liveness` (0 to 1) and `captured_at` are the device's own word.
    """

    NAME: ClassVar[str] = "enrollment.started"
    user_id: UserId
    device_id: DeviceId
    hand: Hand
    scan_sha256: str
    consent_version: str | None
    quality: float | None = None
    liveness: float | None = None
    captured_at: datetime | None = None


class EnrollmentCompleted(DomainEvent, frozen=True, kw_only=True):
    """The vendor keeps the template; the palm works from now on."""

    NAME: ClassVar[str] = "enrollment.completed"
    vendor_palm_id: str


class EnrollmentRejected(DomainEvent, frozen=True, kw_only=True):
    """The palm was not taken: poor image, or it already belongs to somebody else."""

    NAME: ClassVar[str] = "enrollment.rejected"
    reason: Literal["low_quality", "duplicate_palm"]
    hints: tuple[str, ...] = ()


class EnrollmentFailed(DomainEvent, frozen=True, kw_only=True):
    """The vendor did not answer, or answered nonsense; the palm does not work."""

    NAME: ClassVar[str] = "enrollment.failed"
    reason: Literal["palm_vendor_error", "palm_vendor_timeout", "abandoned"]
    vendor_code: int | None = None
    vendor_message: str = ""


EnrollmentEvent = EnrollmentStarted | EnrollmentCompleted | EnrollmentRejected | EnrollmentFailed


class Enrollment(msgspec.Struct, frozen=True, kw_only=True):
    id: PalmRef
    tenant_id: TenantId
    version: int
    started: EnrollmentStarted
    status: Literal["started", "completed", "rejected", "failed"]
    rejected: EnrollmentRejected | None = None


def evolve(enrollment: Enrollment | None, recorded: Recorded) -> Enrollment:
    replace = msgspec.structs.replace
    match recorded.event:
        case EnrollmentStarted() as event if enrollment is None or enrollment.status == "failed":
            return Enrollment(
                id=PalmRef(recorded.stream_id),
                tenant_id=recorded.tenant_id,
                version=recorded.version,
                started=event,
                status="started",
            )
        case EnrollmentCompleted() if enrollment is not None:
            return replace(enrollment, version=recorded.version, status="completed")
        case EnrollmentRejected() as event if enrollment is not None:
            return replace(enrollment, version=recorded.version, status="rejected", rejected=event)
        case EnrollmentFailed() if enrollment is not None:
            return replace(enrollment, version=recorded.version, status="failed")
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> Enrollment | None:
    return fold(evolve, past)
