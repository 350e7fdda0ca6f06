"""PalmChallenge: a palm asked of one person at one device (reference broker.md §3.6).

    pending ─▶ delivered ─▶ answering ─▶ completed
                   ▲            │
                   └────────────┘ the palm did not do, and may be shown again

It ends besides when the device declines, the asker cancels, or time is up. An attempt is taken in
one commit before anybody compares anything, so of several at once one is looked at.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import ClassVar, Final, Literal

import msgspec

from domain.errors import Conflict, Gone, Invalid
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import DeviceId, PalmChallengeId, PalmRef, TenantId, UserId
from domain.palm import Hand

ChallengePurpose = Literal["enrollment", "verification", "confirmation"]
"""What the palm is wanted for; a `confirmation` is a verification that agrees to what is shown."""
ChallengeStatus = Literal[
    "pending", "delivered", "answering", "completed", "declined", "cancelled", "expired"
]
ChallengeResult = Literal["enrolled", "match", "no_match", "refused", "rejected"]
"""`refused`: the person may not be served. `rejected`: the palm was not taken."""
ChallengeReason = Literal[
    "no_candidate",
    "low_confidence",
    "ambiguous",
    "low_quality",
    "duplicate_palm",
    "palm_already_enrolled",
    "user_suspended",
    "user_erased",
    "kyc_required",
    "consent_required",
    "consent_withdrawn",
]
DeclineReason = Literal["user_declined", "unsupported", "busy"]
DropReason = Literal[
    "palm_vendor_error", "palm_vendor_timeout", "palm_type_not_allowed", "request_in_progress"
]

ATTEMPTS_MAX: Final = 3
OFFERED_FOR: Final = timedelta(seconds=20)
"""After this a device that was told and has not answered is told again."""
RESUMED_AFTER: Final = timedelta(seconds=30)
"""Longer than anybody is at an attempt: from then on the same answer again takes it up anew."""
ANSWERED_WITHIN: Final = timedelta(seconds=60)
"""Only after this anything else is let in, a cancellation or another answer."""

_OPEN: Final = ("pending", "delivered", "answering")


class PalmChallengeOpened(DomainEvent, frozen=True, kw_only=True):
    """A palm of this person is wanted at this device until `expires_at`.

    `text_commitment` stands for the words that the device shows, which are sealed under the
    person's key. `hand` and `replace` are an enrolment's.
    """

    NAME: ClassVar[str] = "palm_challenge.opened"
    user_id: UserId
    device_id: DeviceId
    purpose: ChallengePurpose
    expires_at: datetime
    hand: Hand | None = None
    replace: bool = False
    text_commitment: str | None = None


class PalmChallengeDelivered(DomainEvent, frozen=True, kw_only=True):
    """The challenge stood in an answer to the device; said again whenever it is told again."""

    NAME: ClassVar[str] = "palm_challenge.delivered"


class PalmChallengeAttempted(DomainEvent, frozen=True, kw_only=True):
    """The device answered with a scan, which is about to be looked at."""

    NAME: ClassVar[str] = "palm_challenge.attempted"
    attempt: int
    scan_sha256: str


class PalmChallengeAttemptDropped(DomainEvent, frozen=True, kw_only=True):
    """Nobody said anything of the scan, or its hand was being enrolled elsewhere: the attempt does
    not count."""

    NAME: ClassVar[str] = "palm_challenge.attempt_dropped"
    attempt: int
    reason: DropReason


class PalmChallengeMissed(DomainEvent, frozen=True, kw_only=True):
    """The palm did not do, and may be shown again. `hints` say how it is held better."""

    NAME: ClassVar[str] = "palm_challenge.missed"
    attempt: int
    scan_sha256: str
    reason: ChallengeReason
    hints: tuple[str, ...] = ()
    scores: tuple[float, ...] | None = None
    thresholds: tuple[float, ...] | None = None
    policy_version: int | None = None


class PalmChallengeCompleted(DomainEvent, frozen=True, kw_only=True):
    """What came of the challenge: metadata, and not a signed proof (003 §3.8).

    Scores and thresholds as in a verification.
    """

    NAME: ClassVar[str] = "palm_challenge.completed"
    user_id: UserId
    device_id: DeviceId
    purpose: ChallengePurpose
    attempt: int
    scan_sha256: str
    result: ChallengeResult
    reason: ChallengeReason | None = None
    hints: tuple[str, ...] = ()
    palm_ref: PalmRef | None = None
    scores: tuple[float, ...] | None = None
    thresholds: tuple[float, ...] | None = None
    policy_version: int | None = None
    compare_ms: float | None = None


class PalmChallengeDeclined(DomainEvent, frozen=True, kw_only=True):
    """The person, or the device, would not."""

    NAME: ClassVar[str] = "palm_challenge.declined"
    user_id: UserId
    device_id: DeviceId
    purpose: ChallengePurpose
    reason: DeclineReason


class PalmChallengeCancelled(DomainEvent, frozen=True, kw_only=True):
    """Whoever asked wants no answer any more."""

    NAME: ClassVar[str] = "palm_challenge.cancelled"


class PalmChallengeExpired(DomainEvent, frozen=True, kw_only=True):
    """Nobody answered in time."""

    NAME: ClassVar[str] = "palm_challenge.expired"
    user_id: UserId
    device_id: DeviceId
    purpose: ChallengePurpose


PalmChallengeEvent = (
    PalmChallengeOpened
    | PalmChallengeDelivered
    | PalmChallengeAttempted
    | PalmChallengeAttemptDropped
    | PalmChallengeMissed
    | PalmChallengeCompleted
    | PalmChallengeDeclined
    | PalmChallengeCancelled
    | PalmChallengeExpired
)

Outcome = PalmChallengeMissed | PalmChallengeCompleted
"""What an attempt came to."""


class PalmChallenge(msgspec.Struct, frozen=True, kw_only=True):
    """`attempt` is the number of the last one that counts; `attempted` the one under way."""

    id: PalmChallengeId
    tenant_id: TenantId
    version: int
    opened: PalmChallengeOpened
    opened_at: datetime
    status: ChallengeStatus = "pending"
    delivered_at: datetime | None = None
    attempt: int = 0
    attempted: PalmChallengeAttempted | None = None
    attempted_at: datetime | None = None
    outcome: Outcome | None = None
    decline_reason: DeclineReason | None = None
    ended_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        return self.status in _OPEN

    @property
    def attempts_left(self) -> int:
        return max(0, ATTEMPTS_MAX - self.attempt) if self.is_open else 0

    @property
    def completed(self) -> PalmChallengeCompleted | None:
        return self.outcome if isinstance(self.outcome, PalmChallengeCompleted) else None

    def is_due(self, now: datetime) -> bool:
        """Whether the device is to be told of it now."""
        return now < self.opened.expires_at and self.offered_at <= now and not self._answered(now)

    @property
    def offered_at(self) -> datetime:
        """From when on the device is told of it, again or for the first time."""
        return self.opened_at if self.delivered_at is None else self.delivered_at + OFFERED_FOR

    def of_attempt(self, attempt: int, scan_sha256: str) -> Outcome | None:
        """What this very answer came to, when it has been given before."""
        known = self.outcome
        if known is None or (known.attempt, known.scan_sha256) != (attempt, scan_sha256):
            return None
        return known

    def _answered(self, now: datetime) -> bool:
        """Whether it has ended, or somebody may be at an answer."""
        if self.status == "answering":
            assert self.attempted_at is not None, "an attempt was taken at some time"
            return now < self.attempted_at + ANSWERED_WITHIN
        return not self.is_open

    def is_being_answered(self, now: datetime) -> bool:
        return self.status == "answering" and self._answered(now)


def open_challenge(
    challenge: PalmChallenge | None, opened: PalmChallengeOpened
) -> list[PalmChallengeEvent]:
    """The same again says nothing: its first end counts, and its first words."""
    if challenge is None:
        return [opened]
    held = challenge.opened
    asked = msgspec.structs.replace(
        opened, expires_at=held.expires_at, text_commitment=held.text_commitment
    )
    if asked != held or (opened.text_commitment is None) != (held.text_commitment is None):
        raise Invalid("idempotency_key_reused", "this key was used for another request")
    return []


def deliver(challenge: PalmChallenge, now: datetime) -> list[PalmChallengeEvent]:
    return [PalmChallengeDelivered()] if challenge.is_due(now) else []


def attempt(
    challenge: PalmChallenge, number: int, scan_sha256: str, now: datetime
) -> list[PalmChallengeEvent]:
    """Take an answer, or the same once more where nobody finished it.

    Raises Gone (`challenge_expired`), Conflict (`challenge_closed`, `attempt_out_of_order`,
    `request_in_progress`).
    """
    under_way = challenge.attempted
    same = under_way is not None and (
        (under_way.attempt, under_way.scan_sha256) == (number, scan_sha256)
    )
    if challenge.is_being_answered(now):
        assert challenge.attempted_at is not None, "an attempt was taken at some time"
        left = challenge.attempted_at + (RESUMED_AFTER if same else ANSWERED_WITHIN) - now
        if left > timedelta():
            # It is over long before that, as a rule: whoever asks again soon has its outcome.
            raise Conflict("request_in_progress", retry_after_s=1)
    elif challenge.status == "expired" or (
        challenge.is_open and now >= challenge.opened.expires_at
    ):
        raise Gone("challenge_expired")
    elif not challenge.is_open or (challenge.attempt >= ATTEMPTS_MAX and not same):
        raise Conflict("challenge_closed", extra={"status": challenge.status})
    if not same and number != challenge.attempt + 1:
        raise Conflict("attempt_out_of_order", extra={"expected": challenge.attempt + 1})
    return [PalmChallengeAttempted(attempt=number, scan_sha256=scan_sha256)]


def settle(challenge: PalmChallenge, outcome: Outcome) -> list[PalmChallengeEvent]:
    """Say what the attempt under way came to. A last miss is the end."""
    under_way = challenge.attempted
    if under_way is None or under_way.attempt != outcome.attempt:
        return []
    if isinstance(outcome, PalmChallengeCompleted) or outcome.attempt < ATTEMPTS_MAX:
        return [outcome]
    opened = challenge.opened
    return [
        PalmChallengeCompleted(
            user_id=opened.user_id,
            device_id=opened.device_id,
            purpose=opened.purpose,
            attempt=outcome.attempt,
            scan_sha256=outcome.scan_sha256,
            result="rejected" if opened.purpose == "enrollment" else "no_match",
            reason=outcome.reason,
            hints=outcome.hints,
            scores=outcome.scores,
            thresholds=outcome.thresholds,
            policy_version=outcome.policy_version,
        )
    ]


def drop_attempt(
    challenge: PalmChallenge, number: int, reason: DropReason
) -> list[PalmChallengeEvent]:
    under_way = challenge.attempted
    if under_way is None or under_way.attempt != number:
        return []
    return [PalmChallengeAttemptDropped(attempt=number, reason=reason)]


def decline(
    challenge: PalmChallenge, reason: DeclineReason, now: datetime
) -> list[PalmChallengeEvent]:
    """Raises Conflict (`challenge_closed`, `request_in_progress`); again, nothing."""
    if challenge.status == "declined":
        return []
    _refuse_over(challenge, now)
    opened = challenge.opened
    return [
        PalmChallengeDeclined(
            user_id=opened.user_id,
            device_id=opened.device_id,
            purpose=opened.purpose,
            reason=reason,
        )
    ]


def cancel(challenge: PalmChallenge, now: datetime) -> list[PalmChallengeEvent]:
    """Raises Conflict (`challenge_closed`, `request_in_progress`); again, nothing."""
    if challenge.status == "cancelled":
        return []
    _refuse_over(challenge, now)
    return [PalmChallengeCancelled()]


def expire(challenge: PalmChallenge, now: datetime) -> list[PalmChallengeEvent]:
    """An answer that came in time is waited for."""
    opened = challenge.opened
    if not challenge.is_open or now < opened.expires_at or challenge.is_being_answered(now):
        return []
    return [
        PalmChallengeExpired(
            user_id=opened.user_id, device_id=opened.device_id, purpose=opened.purpose
        )
    ]


def _refuse_over(challenge: PalmChallenge, now: datetime) -> None:
    if not challenge.is_open:
        raise Conflict("challenge_closed", extra={"status": challenge.status})
    if challenge.is_being_answered(now):
        raise Conflict("request_in_progress", retry_after_s=1)


def evolve(challenge: PalmChallenge | None, recorded: Recorded) -> PalmChallenge:
    event = recorded.event
    if isinstance(event, PalmChallengeOpened) and challenge is None:
        return PalmChallenge(
            id=PalmChallengeId(recorded.stream_id),
            tenant_id=recorded.tenant_id,
            version=recorded.version,
            opened=event,
            opened_at=recorded.recorded_at,
        )
    if challenge is None:
        raise UnexpectedEvent(event)
    replace = msgspec.structs.replace
    at = recorded.recorded_at
    challenge = replace(challenge, version=recorded.version)
    match event:
        case PalmChallengeDelivered():
            return replace(challenge, status="delivered", delivered_at=at)
        case PalmChallengeAttempted():
            return replace(
                challenge,
                status="answering",
                attempt=event.attempt,
                attempted=event,
                attempted_at=at,
            )
        case PalmChallengeAttemptDropped():
            return replace(challenge, status="delivered", attempt=event.attempt - 1, attempted=None)
        case PalmChallengeMissed():
            return replace(challenge, status="delivered", attempted=None, outcome=event)
        case PalmChallengeCompleted():
            ended = replace(challenge, status="completed", attempted=None)
            return replace(ended, outcome=event, ended_at=at)
        case PalmChallengeDeclined():
            ended = replace(challenge, status="declined", attempted=None, ended_at=at)
            return replace(ended, decline_reason=event.reason)
        case PalmChallengeCancelled():
            return replace(challenge, status="cancelled", attempted=None, ended_at=at)
        case PalmChallengeExpired():
            return replace(challenge, status="expired", attempted=None, ended_at=at)
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> PalmChallenge | None:
    return fold(evolve, past)
