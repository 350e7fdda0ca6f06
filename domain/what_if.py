"""What if: a decided transaction judged again, under another match policy or fail mode.

Pure, and from the transaction's own events alone: the palms that were compared and what the vendor
asked of them, the picture's own word, and how the product failed. What is not in the log is not
guessed: what a product would have said to somebody who was not identified, and whether a stand-in
would have been within its budget and its amount.
"""

from typing import Final, Literal, assert_never
from uuid import UUID

import msgspec

from domain import transaction as x
from domain.errors import Invalid
from domain.fail_mode import FailMode
from domain.ids import PalmRef
from domain.matching import (
    Candidate,
    MatchPolicy,
    ScoredPalm,
    Scores,
    check_picture,
    judge,
    judge_pair,
    one_palm_each,
)

Effect = Literal[
    "picture_refused",
    "not_recognized",
    "identified",
    "other_person",
    "stand_in",
    "fail_closed",
]
"""What would have become of it instead. `identified` and `stand_in` are what might have been: the
product was not asked, or a budget would have had to allow it."""

STAND_IN_REASONS: Final = frozenset(
    {"authorize_timeout", "circuit_open", "connect_error", "product_5xx"}
)


class What(msgspec.Struct, frozen=True, kw_only=True):
    """The candidate. A part that is None stays as it was when each transaction was decided.

    `product_key` narrows the fail mode to one product.
    """

    match_policy: MatchPolicy | None = None
    fail_mode: FailMode | None = None
    product_key: str | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`evaluable` is False where the events do not hold what it takes. No effect: as it was."""

    evaluable: bool = True
    effect: Effect | None = None
    reason: str | None = None


AS_IT_WAS: Final = Verdict()
NOT_EVALUABLE: Final = Verdict(evaluable=False)


def judged_again(what: What, transaction: x.Transaction) -> Verdict:
    """What this decided transaction would have come to."""
    if what.match_policy is not None:
        verdict = _recognised_again(what.match_policy, transaction)
        if verdict != AS_IT_WAS:
            return verdict
    if what.fail_mode is not None:
        return _failed_again(what.fail_mode, what.product_key, transaction)
    return AS_IT_WAS


def _recognised_again(policy: MatchPolicy, transaction: x.Transaction) -> Verdict:
    decision, identified = transaction.decision, transaction.identified
    received = transaction.received
    compared: x.TransactionIdentified | x.TransactionNotRecognized
    if isinstance(decision, x.TransactionNotRecognized):
        compared = decision
    elif identified is not None:
        compared = identified
    else:
        return AS_IT_WAS  # Nothing was compared: the vendor would not be asked.
    if not compared.vendor_thresholds:
        return NOT_EVALUABLE
    try:
        check_picture(policy, received.quality, received.liveness)
    except Invalid as refused:
        return Verdict(effect="picture_refused", reason=refused.code)
    person, reason = _winner(policy, compared.candidates, compared.vendor_thresholds)
    if isinstance(compared, x.TransactionNotRecognized):
        return AS_IT_WAS if person is None else Verdict(effect="identified")
    if person is None:
        return Verdict(effect="not_recognized", reason=reason)
    same = any(
        palm.person == person and palm.scores == compared.scores for palm in compared.candidates
    )
    return AS_IT_WAS if same else Verdict(effect="other_person")


def _winner(
    policy: MatchPolicy, candidates: tuple[ScoredPalm, ...], thresholds: tuple[float, ...]
) -> tuple[int | None, str | None]:
    """The person who would be identified, or why nobody."""
    if len(thresholds) == len(("print", "vein")):
        (palm,) = candidates
        passed, _ = judge_pair(
            policy, (palm.scores[0], palm.scores[1]), (thresholds[0], thresholds[1])
        )
        return (palm.person, None) if passed else (None, "low_confidence")
    asked = _four(thresholds)
    owned = [
        (
            palm.person,
            Candidate(
                palm_ref=PalmRef(UUID(int=number)), hand="unknown", scores=_four(palm.scores)
            ),
        )
        for number, palm in enumerate(candidates)
    ]
    speaking = one_palm_each(policy, owned, asked)
    match = judge(policy, list(speaking.values()), asked)
    if match.verdict != "match":
        return None, match.verdict
    return next(person for person, palm in speaking.items() if palm is match.best), None


def _four(scores: tuple[float, ...]) -> Scores:
    first, second, third, fourth = scores
    return first, second, third, fourth


def _failed_again(
    fail_mode: FailMode, product_key: str | None, transaction: x.Transaction
) -> Verdict:
    intent, decision = transaction.intent, transaction.decision
    if intent is None or product_key not in (None, intent.product_key):
        return AS_IT_WAS
    if fail_mode == intent.fail_mode:
        return AS_IT_WAS
    match fail_mode:
        case "closed":
            if not isinstance(decision, x.TransactionFailedOpen):
                return AS_IT_WAS
            return Verdict(effect="fail_closed", reason=decision.reason)
        case "open":
            if not isinstance(decision, x.TransactionFailedClosed):
                return AS_IT_WAS
            if not _could_stand_in(intent, decision):
                return AS_IT_WAS
            return Verdict(effect="stand_in", reason=decision.reason)
        case _:
            assert_never(fail_mode)


def _could_stand_in(
    intent: x.TransactionAuthorizationRequested, decision: x.TransactionFailedClosed
) -> bool:
    """As the broker would: the product's own silence, first time, with all the time it has."""
    if intent.epoch > 1 or decision.reason not in STAND_IN_REASONS:
        return False
    return decision.reason != "authorize_timeout" or (
        decision.authorize_ms is not None and decision.authorize_ms >= intent.timeout_ms
    )
