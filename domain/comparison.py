"""Comparison: a palm compared because an integrator asked, with one person or with all.

A verification (1:1) says whether the palm is that of the person who was named, an identification
(1:N) whose it is. Each is a stream of one event: the answer, with what it rests on. It is metadata
and not a signed proof (003 §3.8).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar, Literal

from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import PalmRef, UserId

ComparisonResult = Literal["match", "no_match", "refused"]
"""`refused`: the person may not be served, whatever the palm says."""

ComparisonReason = Literal[
    "no_candidate",
    "low_confidence",
    "ambiguous",
    "user_suspended",
    "user_erased",
    "kyc_required",
    "consent_required",
    "consent_withdrawn",
]


class VerificationCompleted(DomainEvent, frozen=True, kw_only=True):
    """Whether a palm was that of the person whom the integrator named.

    `scores` are those of the palm that came nearest, `thresholds` what they had to reach;
    `compare_ms` is the vendor's time in milliseconds. None of them where nothing was compared.
    """

    NAME: ClassVar[str] = "verification.completed"
    user_id: UserId
    scan_sha256: str
    result: ComparisonResult
    reason: ComparisonReason | None
    palm_ref: PalmRef | None
    scores: tuple[float, ...] | None
    thresholds: tuple[float, ...] | None
    policy_version: int
    compare_ms: float | None
    compared_at: datetime


class IdentificationCompleted(DomainEvent, frozen=True, kw_only=True):
    """Whose palm it was. `user_id` stands also where the person was refused.

    Scores, thresholds and times as in a verification.
    """

    NAME: ClassVar[str] = "identification.completed"
    user_id: UserId | None
    scan_sha256: str
    result: ComparisonResult
    reason: ComparisonReason | None
    palm_ref: PalmRef | None
    scores: tuple[float, ...] | None
    thresholds: tuple[float, ...] | None
    policy_version: int
    compare_ms: float | None
    compared_at: datetime


ComparisonEvent = VerificationCompleted | IdentificationCompleted


def evolve(before: ComparisonEvent | None, recorded: Recorded) -> ComparisonEvent:
    event = recorded.event
    if before is None and isinstance(event, VerificationCompleted | IdentificationCompleted):
        return event
    raise UnexpectedEvent(event)


def rebuild(past: Iterable[Recorded]) -> ComparisonEvent | None:
    return fold(evolve, past)
