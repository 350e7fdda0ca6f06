"""Enrollment: one palm on its way to the vendor and back. Its id is the palm's reference there.

The intent (`enrollment.started`) is durable before the vendor hears of the palm, so a crash
leaves something that can be finished or cleaned up, never an unknown template. A template is
destroyed only under a reference whose enrolment has ended in the log, and a reference that has
ended is never used again: so no late destruction can meet a palm that works.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar, Final, Literal

import msgspec

from domain.errors import Conflict, Invalid
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import DeviceId, PalmRef, TenantId, UserId
from domain.palm import Hand, PalmRemovalReason

RemovalDelay = Literal["palm_vendor_error", "palm_vendor_timeout", "not_supported"]
"""Why a template is still at the vendor: it failed, was silent, or has no such call."""

Attestation = Literal["deleted_by_hand", "vendor_closed"]
"""What somebody stands for in a silent vendor's place: it deleted the template and said so
elsewhere, or it is no more and destroyed what it had."""
REFERENCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,63}")


class EnrollmentStarted(DomainEvent, frozen=True, kw_only=True):
    """A palm of this person is about to be given to the vendor.

    `quality` (0 to 100), `liveness` (0 to 1) and `captured_at` are the device's own word. The palm
    that it `replaces` works until this one does.
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
    replaces: PalmRef | None = None


class EnrollmentCompleted(DomainEvent, frozen=True, kw_only=True):
    """The vendor keeps the template; the palm works from now on."""

    NAME: ClassVar[str] = "enrollment.completed"
    vendor_palm_id: str


class EnrollmentRejected(DomainEvent, frozen=True, kw_only=True):
    """The palm was not taken: poor image, or it already belongs to somebody else.

    `template_left` says that the vendor may keep a template of it, which has to go.
    """

    NAME: ClassVar[str] = "enrollment.rejected"
    reason: Literal["low_quality", "duplicate_palm"]
    hints: tuple[str, ...] = ()
    template_left: bool = False


class EnrollmentFailed(DomainEvent, frozen=True, kw_only=True):
    """The vendor did not answer, or answered nonsense; the palm does not work.

    `template_left` says that the vendor may keep a template of it, which has to go.
    """

    NAME: ClassVar[str] = "enrollment.failed"
    reason: Literal["palm_vendor_error", "palm_vendor_timeout", "abandoned"]
    vendor_code: int | None = None
    vendor_message: str = ""
    template_left: bool = False


class EnrollmentTemplateArrivedLate(DomainEvent, frozen=True, kw_only=True):
    """The vendor got the palm after its enrolment had ended and been cleaned up: it has to go."""

    NAME: ClassVar[str] = "enrollment.template_arrived_late"


class EnrollmentTemplateRemovalStarted(DomainEvent, frozen=True, kw_only=True):
    """A palm that worked is taken away from its person: its template has to go."""

    NAME: ClassVar[str] = "enrollment.template_removal_started"
    reason: PalmRemovalReason


class EnrollmentTemplateRemovalDelayed(DomainEvent, frozen=True, kw_only=True):
    """The vendor still keeps a template that has to go. Said again only when the reason changes."""

    NAME: ClassVar[str] = "enrollment.template_removal_delayed"
    reason: RemovalDelay


class EnrollmentTemplateRemoved(DomainEvent, frozen=True, kw_only=True):
    """The vendor said that it destroyed the template, or that it has none."""

    NAME: ClassVar[str] = "enrollment.template_removed"
    vendor_answer: Literal["deleted", "absent"]


class EnrollmentTemplateRemovalAttested(DomainEvent, frozen=True, kw_only=True):
    """Whoever runs the platform stands for it that the vendor has the template no more.

    The vendor itself did not say so to us. `reference` is where the written proof is kept.
    """

    NAME: ClassVar[str] = "enrollment.template_removal_attested"
    reason: Attestation
    reference: str


EnrollmentEvent = (
    EnrollmentStarted
    | EnrollmentCompleted
    | EnrollmentRejected
    | EnrollmentFailed
    | EnrollmentTemplateArrivedLate
    | EnrollmentTemplateRemovalStarted
    | EnrollmentTemplateRemovalDelayed
    | EnrollmentTemplateRemoved
    | EnrollmentTemplateRemovalAttested
)

Template = Literal["unknown", "none", "kept", "removing", "removed"]
"""What the vendor has of the palm: `unknown` until the enrolment ends, `none` when it never got
one, `kept` while the palm works, `removing` until the vendor says that it is `removed`."""


class Enrollment(msgspec.Struct, frozen=True, kw_only=True):
    id: PalmRef
    tenant_id: TenantId
    version: int
    started: EnrollmentStarted
    status: Literal["started", "completed", "rejected", "failed"]
    template: Template = "unknown"
    delayed_by: RemovalDelay | None = None
    rejected: EnrollmentRejected | None = None


def template_arrived_late(enrollment: Enrollment) -> list[EnrollmentEvent]:
    """Somebody gave the palm to the vendor and found the enrolment ended afterwards."""
    late = enrollment.template in ("none", "removed")
    return [EnrollmentTemplateArrivedLate()] if late else []


def start_template_removal(
    enrollment: Enrollment, reason: PalmRemovalReason
) -> list[EnrollmentEvent]:
    """The palm works no more."""
    if enrollment.template != "kept":
        return []
    return [EnrollmentTemplateRemovalStarted(reason=reason)]


def delay_template_removal(enrollment: Enrollment, reason: RemovalDelay) -> list[EnrollmentEvent]:
    """The vendor would not destroy the template this time."""
    if enrollment.template != "removing" or enrollment.delayed_by == reason:
        return []
    return [EnrollmentTemplateRemovalDelayed(reason=reason)]


def remove_template(
    enrollment: Enrollment, vendor_answer: Literal["deleted", "absent"]
) -> list[EnrollmentEvent]:
    """The vendor has it no more."""
    if enrollment.template != "removing":
        return []
    return [EnrollmentTemplateRemoved(vendor_answer=vendor_answer)]


def attest_template_removal(
    enrollment: Enrollment, reason: Attestation, reference: str
) -> list[EnrollmentEvent]:
    """End a removal that the vendor does not: it was asked before, and would not. Again, it says
    nothing.

    Raises Invalid (`reference_invalid`) and Conflict (`template_removal_not_delayed`).
    """
    if not REFERENCE.fullmatch(reference):
        raise Invalid("reference_invalid", "1 to 64 letters, digits, dots, slashes and hyphens")
    if enrollment.template == "removed":
        return []
    if enrollment.template != "removing" or enrollment.delayed_by is None:
        raise Conflict("template_removal_not_delayed", "the vendor is asked first")
    return [EnrollmentTemplateRemovalAttested(reason=reason, reference=reference)]


def evolve(enrollment: Enrollment | None, recorded: Recorded) -> Enrollment:
    event = recorded.event
    if isinstance(event, EnrollmentStarted) and (
        enrollment is None or enrollment.status == "failed"
    ):
        return Enrollment(
            id=PalmRef(recorded.stream_id),
            tenant_id=recorded.tenant_id,
            version=recorded.version,
            started=event,
            status="started",
        )
    if enrollment is None:
        raise UnexpectedEvent(event)
    replace = msgspec.structs.replace
    enrollment = replace(enrollment, version=recorded.version)
    match event:
        case EnrollmentCompleted():
            return replace(enrollment, status="completed", template="kept")
        case EnrollmentRejected():
            template = _after(event)
            return replace(enrollment, status="rejected", rejected=event, template=template)
        case EnrollmentFailed():
            return replace(enrollment, status="failed", template=_after(event))
        case EnrollmentTemplateArrivedLate():
            return replace(enrollment, template="removing")
        case EnrollmentTemplateRemovalStarted():
            return replace(enrollment, template="removing")
        case EnrollmentTemplateRemovalDelayed():
            return replace(enrollment, delayed_by=event.reason)
        case EnrollmentTemplateRemoved() | EnrollmentTemplateRemovalAttested():
            return replace(enrollment, template="removed", delayed_by=None)
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> Enrollment | None:
    return fold(evolve, past)


def _after(ended: EnrollmentRejected | EnrollmentFailed) -> Template:
    return "removing" if ended.template_left else "none"
