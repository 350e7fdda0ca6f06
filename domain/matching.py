"""Scores against a match policy: match, weak, ambiguous or none.

The vendor returns four scores per candidate and four thresholds (004 diagram 4.3; reference
broker.md §3.10). A tenant may only be stricter than the vendor: the effective threshold of
each score is the larger of the vendor's and the policy's.
"""

import math
from collections.abc import Hashable, Sequence
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from domain.errors import Invalid
from domain.ids import PalmRef

Scores = tuple[float, float, float, float]
Pair = tuple[float, float]
"""The two scores of a device that matches by itself (the small model)."""

P = TypeVar("P", bound=Hashable)

SCORE_NAMES: Final = ("device_print", "device_vein", "server_print", "server_vein")


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One enrolled palm that the vendor thinks it saw."""

    palm_ref: PalmRef
    hand: Literal["left", "right", "unknown"]
    scores: Scores


class ScoredPalm(msgspec.Struct, frozen=True, array_like=True):
    """A palm that was compared, as the log keeps it: scores, and no word of whose it is.

    `person` numbers the people of one transaction from 0, so that two palms of one person are
    told from palms of two. Stored as `[person, [scores]]`.
    """

    person: int
    scores: tuple[float, ...]


class MatchPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When four scores are a match. `version` is recorded with every decision it takes part in.

    A picture of which the device says less than `min_quality` (0 to 100) or `min_liveness` (0 to
    1), or nothing, is not compared at all. None asks for neither.
    """

    version: int = 1
    rule: Literal["all", "k_of_n"] = "all"
    k: Annotated[int, msgspec.Meta(ge=1, le=4)] = 4
    minimum: Scores = (0.0, 0.0, 0.0, 0.0)
    margin: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.05
    min_quality: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    min_liveness: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy says of the candidates. `best` and `effective` are kept as evidence."""

    verdict: Literal["match", "no_candidate", "low_confidence", "ambiguous"]
    best: Candidate | None
    effective: Scores


def check_picture(policy: MatchPolicy, quality: float | None, liveness: float | None) -> None:
    """Raises Invalid (`low_quality`, `liveness_failed`) for a picture not worth comparing."""
    if policy.min_quality is not None and (quality is None or quality < policy.min_quality):
        raise Invalid("low_quality", "capture again", extra={"hints": []})
    if policy.min_liveness is not None and (liveness is None or liveness < policy.min_liveness):
        raise Invalid("liveness_failed", "capture again")


def judge(policy: MatchPolicy, found: Sequence[Candidate], vendor_thresholds: Scores) -> Match:
    """Pick the one palm that passes, or say why there is none.

    Candidates are ranked by the mean of their scores. When a second palm also passes and its
    mean is no more than `margin` below the best, the answer is `ambiguous`: the caller resolves
    palms to people first and hands in one candidate per person, so that two hands of one person
    never clash. A candidate with a score outside 0 to 1, NaN included, never passes.
    """
    effective = effective_thresholds(policy, vendor_thresholds)
    if not found:
        return Match(verdict="no_candidate", best=None, effective=effective)
    ranked = sorted(found, key=_mean, reverse=True)
    passing = [candidate for candidate in ranked if _passes(policy, candidate.scores, effective)]
    if not passing:
        return Match(verdict="low_confidence", best=ranked[0], effective=effective)
    best = passing[0]
    if len(passing) > 1 and _mean(best) - _mean(passing[1]) <= policy.margin:
        return Match(verdict="ambiguous", best=best, effective=effective)
    return Match(verdict="match", best=best, effective=effective)


def one_palm_each(
    policy: MatchPolicy, found: Sequence[tuple[P, Candidate]], vendor_thresholds: Scores
) -> dict[P, Candidate]:
    """The palm that speaks for each person: one that passes before one that does not, then the
    higher mean. In the order in which the people first appear."""
    effective = effective_thresholds(policy, vendor_thresholds)
    best: dict[P, tuple[bool, float, Candidate]] = {}
    for person, candidate in found:
        rank = _passes(policy, candidate.scores, effective), _mean(candidate)
        held = best.get(person)
        if held is None or rank > held[:2]:
            best[person] = (*rank, candidate)
    return {person: held[2] for person, held in best.items()}


def judge_pair(policy: MatchPolicy, scores: Pair, device_thresholds: Pair) -> tuple[bool, Pair]:
    """Whether a device's own match counts, and the thresholds in force: the device's, or the
    policy's for prints and veins on the device where those are higher."""
    effective = (
        max(device_thresholds[0], policy.minimum[0]),
        max(device_thresholds[1], policy.minimum[1]),
    )
    return scores[0] >= effective[0] and scores[1] >= effective[1], effective


def effective_thresholds(policy: MatchPolicy, vendor_thresholds: Scores) -> Scores:
    """The larger of the vendor's and the policy's, score by score."""
    return (
        max(vendor_thresholds[0], policy.minimum[0]),
        max(vendor_thresholds[1], policy.minimum[1]),
        max(vendor_thresholds[2], policy.minimum[2]),
        max(vendor_thresholds[3], policy.minimum[3]),
    )


def _mean(candidate: Candidate) -> float:
    mean = math.fsum(candidate.scores) / len(candidate.scores)
    # NaN has no place in an order: sorting with it would leave the others unsorted.
    return -math.inf if math.isnan(mean) else mean


def _passes(policy: MatchPolicy, scores: Scores, effective: Scores) -> bool:
    if not all(0.0 <= score <= 1.0 for score in scores):
        return False
    passed = sum(score >= least for score, least in zip(scores, effective, strict=True))
    return passed >= (4 if policy.rule == "all" else policy.k)
