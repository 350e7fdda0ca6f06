"""A decision judged again: under its own policy it stays, under another it may not."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import transaction as x
from domain import what_if
from domain.ids import PalmRef, TransactionId
from domain.matching import (
    Candidate,
    MatchPolicy,
    ScoredPalm,
    Scores,
    judge,
    judge_pair,
    one_palm_each,
)
from domain.what_if import AS_IT_WAS, NOT_EVALUABLE, Verdict, What, judged_again
from tests import builders as b
from tests.spec import STREAM, TENANT

unit = st.floats(0, 1)
four = st.tuples(unit, unit, unit, unit)
policies = st.builds(
    MatchPolicy,
    rule=st.sampled_from(["all", "k_of_n"]),
    k=st.integers(1, 4),
    minimum=four,
    margin=unit,
)
# Few values, so that palms pass together, tie, and lie within each other's margin.
close = st.sampled_from([0.0, 0.3, 0.5, 0.55, 0.6, 0.9, 1.0])
vectors = st.tuples(close, close, close, close)
palms = st.lists(st.tuples(st.integers(0, 2), vectors), max_size=5)


def transaction(
    *,
    identified: x.TransactionIdentified | None = None,
    decision: x.Decision | None = None,
    intent: x.TransactionAuthorizationRequested | None = None,
    **received: Any,
) -> x.Transaction:
    return x.Transaction(
        id=TransactionId(STREAM),
        tenant_id=TENANT,
        version=4,
        received=b.transaction_received(**received),
        identified=identified,
        intent=intent,
        decision=decision or b.transaction_allowed(),
    )


def decided(
    policy: MatchPolicy, found: list[tuple[int, Scores]], thresholds: Scores
) -> x.Transaction:
    """A transaction as the broker records it under `policy`."""
    owned = [
        (person, Candidate(palm_ref=PalmRef(UUID(int=n)), hand="left", scores=scores))
        for n, (person, scores) in enumerate(found)
    ]
    match = judge(policy, list(one_palm_each(policy, owned, thresholds).values()), thresholds)
    people: dict[int, int] = {}
    evidence: dict[str, Any] = {
        "thresholds": match.effective,
        "candidates": tuple(
            ScoredPalm(people.setdefault(person, len(people)), scores) for person, scores in found
        ),
        "vendor_thresholds": thresholds,
    }
    if match.verdict == "match" and match.best is not None:
        identified = b.transaction_identified(scores=match.best.scores, **evidence)
        return transaction(identified=identified)
    scores = match.best.scores if match.best is not None else None
    unknown = b.transaction_not_recognized(reason=match.verdict, scores=scores, **evidence)
    return transaction(decision=unknown)


@settings(max_examples=100)  # The next test counts on that many.
@given(policies, palms, vectors)
def test_under_the_policy_in_force_nothing_flips(
    policy: MatchPolicy, found: list[tuple[int, Scores]], thresholds: Scores
) -> None:
    assert judged_again(What(match_policy=policy), decided(policy, found, thresholds)) == AS_IT_WAS


def test_that_property_notices_a_judge_who_forgets_whose_palms_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The planted bug takes each palm for a person: two hands of one then make an ambiguity."""

    def each_alone(*given: Any) -> dict[int, Candidate]:
        return {number: candidate for number, (_, candidate) in enumerate(given[1])}

    monkeypatch.setattr(what_if, "one_palm_each", each_alone)
    with pytest.raises(AssertionError):
        test_under_the_policy_in_force_nothing_flips()


@given(policies, policies, palms, vectors)
def test_what_would_be_is_what_the_other_policy_says(
    policy: MatchPolicy, other: MatchPolicy, found: list[tuple[int, Scores]], thresholds: Scores
) -> None:
    was, would_be = decided(policy, found, thresholds), decided(other, found, thresholds)
    verdict = judged_again(What(match_policy=other), was)
    matters = (was.identified is not None, would_be.identified is not None)
    match matters:
        case (True, False):
            unknown = would_be.decision
            assert isinstance(unknown, x.TransactionNotRecognized)
            assert verdict == Verdict(effect="not_recognized", reason=unknown.reason)
        case (False, True):
            assert verdict == Verdict(effect="identified")
        case (False, False):
            assert verdict == AS_IT_WAS
        case _:
            assert verdict.effect in (None, "other_person")


def test_a_policy_under_which_another_person_stands_first() -> None:
    """Whoever is best overall fails one score, which three of four let pass."""
    found: list[tuple[int, Scores]] = [(0, (0.9, 0.9, 0.9, 0.5)), (1, (0.7, 0.7, 0.7, 0.7))]
    was = decided(MatchPolicy(), found, (0.6, 0.6, 0.6, 0.6))
    verdict = judged_again(What(match_policy=MatchPolicy(rule="k_of_n", k=3)), was)
    assert verdict == Verdict(effect="other_person")


@pytest.mark.parametrize(
    ("scores", "minimum", "effect"),
    [((0.9, 0.9), 0.95, "not_recognized"), ((0.9, 0.9), 0.9, None)],
)
def test_a_devices_own_match_is_judged_by_its_two_scores(
    scores: tuple[float, float], minimum: float, effect: str | None
) -> None:
    passed, effective = judge_pair(MatchPolicy(), scores, (0.8, 0.8))
    assert passed
    identified = b.transaction_identified(
        match_source="device",
        scores=scores,
        thresholds=effective,
        candidates=(ScoredPalm(0, scores),),
        vendor_thresholds=(0.8, 0.8),
    )
    policy = MatchPolicy(minimum=(minimum, minimum, 1.0, 1.0))
    assert judged_again(What(match_policy=policy), transaction(identified=identified)).effect == (
        effect
    )


def test_a_picture_that_would_not_have_been_compared() -> None:
    was = transaction(identified=b.transaction_identified(), quality=40.0, liveness=0.9)
    poor = judged_again(What(match_policy=MatchPolicy(min_quality=50.0)), was)
    assert poor == Verdict(effect="picture_refused", reason="low_quality")
    assert judged_again(What(match_policy=MatchPolicy(min_quality=40.0)), was) == AS_IT_WAS


def test_without_all_scores_nothing_is_claimed() -> None:
    older = b.transaction_identified(candidates=(), vendor_thresholds=())
    was = transaction(identified=older)
    assert judged_again(What(match_policy=MatchPolicy()), was) == NOT_EVALUABLE
    forbidden = transaction(decision=b.transaction_forbidden())
    assert judged_again(What(match_policy=MatchPolicy()), forbidden) == AS_IT_WAS


CLOSED = b.transaction_failed_closed
OPENED = b.transaction_failed_open


@pytest.mark.parametrize(
    ("in_force", "candidate", "decision", "effect"),
    [
        ("closed", "open", CLOSED(), "stand_in"),
        ("closed", "open", CLOSED(authorize_ms=300.0), None),
        ("closed", "open", CLOSED(reason="connect_error", authorize_ms=3.0), "stand_in"),
        ("closed", "open", CLOSED(reason="assertion_rejected"), None),
        ("closed", "open", b.transaction_denied(), None),
        ("closed", "closed", CLOSED(), None),
        ("open", "closed", OPENED(), "fail_closed"),
        ("open", "closed", CLOSED(reason="stand_in_limit"), None),
        ("open", "open", OPENED(), None),
        ("open", "open", CLOSED(reason="stand_in_limit"), None),
    ],
)
def test_a_fail_mode_turns_only_what_the_other_would_have_turned(
    in_force: str, candidate: Any, decision: x.Decision, effect: str | None
) -> None:
    intent = b.transaction_authorization_requested(fail_mode=in_force)
    was = transaction(identified=b.transaction_identified(), intent=intent, decision=decision)
    verdict = judged_again(What(fail_mode=candidate), was)
    assert verdict.effect == effect
    other = What(fail_mode=candidate, product_key="door")
    assert judged_again(other, was) == AS_IT_WAS


def test_whoever_took_over_stands_in_for_nobody() -> None:
    intent = b.transaction_authorization_requested(epoch=2)
    was = transaction(identified=b.transaction_identified(), intent=intent, decision=CLOSED())
    assert judged_again(What(fail_mode="open"), was) == AS_IT_WAS
