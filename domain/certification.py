"""Certification: whether a product checks what it must, found out by asking it wrongly.

Seed 004 leaves it to the product to know a forged caller from the platform, so the commonest hole
will be a product that does not look (reference broker.md §5.2). The runs of one linked service
stand on a stream beside the service's own, so that a run moves no ETag.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import ClassVar, Final, Literal, get_args
from uuid import UUID, uuid5

import msgspec

from domain.errors import Conflict
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import LinkedServiceId, UserId

CaseName = Literal[
    "valid_request",
    "health",
    "answers_in_time",
    "no_assertion",
    "wrong_signature",
    "unknown_kid",
    "alg_none",
    "alg_hs256",
    "wrong_type",
    "wrong_issuer",
    "wrong_audience",
    "other_tenants_audience",
    "expired",
    "not_yet_valid",
    "altered_body",
    "altered_context",
    "void_assertion_at_authorize",
    "replayed_jti",
    "same_key_same_answer",
    "same_key_other_context",
    "void_wrong_signature",
    "authorize_assertion_at_void",
    "void_twice",
    "void_before_authorize",
    "authorize_after_void",
    "advice_wrong_signature",
    "authorize_assertion_at_advice",
    "advice_twice",
    "advice_after_void",
]
CASES: Final[tuple[CaseName, ...]] = get_args(CaseName)
MINOR: Final[frozenset[CaseName]] = frozenset({"health", "answers_in_time", "not_yet_valid"})
"""What costs the best grade and lets nobody in and nothing be paid twice."""
OF_VOIDS: Final[frozenset[CaseName]] = frozenset(
    {
        "void_wrong_signature",
        "authorize_assertion_at_void",
        "void_twice",
        "void_before_authorize",
        "authorize_after_void",
    }
)
"""What can be asked only of a product with a void endpoint."""
OF_ADVICE: Final[frozenset[CaseName]] = frozenset(
    {
        "advice_wrong_signature",
        "authorize_assertion_at_advice",
        "advice_twice",
        "advice_after_void",
    }
)
"""What can be asked only of a product with an advice endpoint, and one of a void endpoint too."""

Verdict = Literal["passed", "failed", "not_applicable"]
Grade = Literal["A", "B", "C", "F"]
"""A: everything holds. B: everything that applies, without a void endpoint. C: something minor
fails. F: the product lets somebody in whom it should not, or does one thing twice."""

RUN_MAX: Final = timedelta(seconds=120)
"""After this a run that has not ended is held to have died with its process."""
RUNS_KEPT: Final = 20


class CaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the product did in one case: `found` is a code of ours, never the product's words."""

    case: CaseName
    verdict: Verdict
    found: str


class LinkedServiceCertificationStarted(DomainEvent, frozen=True, kw_only=True):
    """Somebody wants to know whether the product checks; it is asked with this action."""

    NAME: ClassVar[str] = "linked_service.certification_started"
    service_id: LinkedServiceId
    service_version: int
    action: str
    started_at: datetime


class LinkedServiceCertified(DomainEvent, frozen=True, kw_only=True):
    """What a run found, case by case. `service_version` is the registration that was tried."""

    NAME: ClassVar[str] = "linked_service.certified"
    service_id: LinkedServiceId
    service_version: int
    grade: Grade
    results: tuple[CaseResult, ...]
    finished_at: datetime


CertificationEvent = LinkedServiceCertificationStarted | LinkedServiceCertified


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run; `certified` is None while it goes on, and for ever when its process died."""

    started: LinkedServiceCertificationStarted
    certified: LinkedServiceCertified | None = None

    def status(self, now: datetime) -> Literal["running", "completed", "interrupted"]:
        if self.certified is not None:
            return "completed"
        return "running" if now - self.started.started_at < RUN_MAX else "interrupted"


class Certification(msgspec.Struct, frozen=True, kw_only=True):
    """The runs of one service, the newest last; older ones stay in the log."""

    version: int
    runs: tuple[Run, ...] = ()


def start(
    certification: Certification | None, event: LinkedServiceCertificationStarted
) -> list[CertificationEvent]:
    """Raises Conflict (`certification_running`)."""
    last = None if certification is None else certification.runs[-1]
    if last is not None and last.status(event.started_at) == "running":
        raise Conflict("certification_running", "wait for the run that goes on", retry_after_s=10)
    return [event]


def certify(
    certification: Certification | None,
    event: LinkedServiceCertified,
    started: LinkedServiceCertificationStarted,
) -> list[CertificationEvent]:
    """The end of the run that was `started`; nothing when that is over, or another has begun."""
    last = None if certification is None else certification.runs[-1]
    if last is None or last.started != started or last.certified is not None:
        return []
    return [event]


def grade(results: Sequence[CaseResult]) -> Grade:
    failed = {each.case for each in results if each.verdict == "failed"}
    if failed - MINOR:
        return "F"
    if failed:
        return "C"
    # Advice is for lanes that open without their product: to have no endpoint for it is no lack.
    without = {each.case for each in results if each.verdict == "not_applicable"}
    return "B" if without - OF_ADVICE else "A"


def missing_endpoint(
    case: CaseName, *, void: bool, advice: bool
) -> Literal["no_void_path", "no_advice_path"] | None:
    """Why a case does not apply to a product; None when it does."""
    if case in OF_ADVICE and not advice:
        return "no_advice_path"
    if not void and (case in OF_VOIDS or case == "advice_after_void"):
        return "no_void_path"
    return None


def tester(service_id: LinkedServiceId) -> UserId:
    """The person who is never anybody: whom a product may give a balance to be tried with."""
    return UserId(uuid5(service_id, "certification:user"))


def certification_id(service_id: UUID) -> UUID:
    """The stream of a service's runs."""
    return uuid5(service_id, "certification")


def evolve(certification: Certification | None, recorded: Recorded) -> Certification:
    runs = () if certification is None else certification.runs
    match recorded.event:
        case LinkedServiceCertificationStarted() as event:
            runs = (*runs, Run(started=event))[-RUNS_KEPT:]
        case LinkedServiceCertified() as event if runs:
            runs = (*runs[:-1], msgspec.structs.replace(runs[-1], certified=event))
        case other:
            raise UnexpectedEvent(other)
    return Certification(version=recorded.version, runs=runs)


def rebuild(past: Iterable[Recorded]) -> Certification | None:
    return fold(evolve, past)
