"""The cases of a certification: which requests each sends, and what of the answers it accepts."""

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from application.ports.probes import Probe, ProbeAnswer
from application.tenants.certification_probes import Probes, Spoilt
from domain.certification import CaseName, CaseResult

CALLS_TIMED: Final = 10

_SPOILT: Final[dict[CaseName, Spoilt]] = {
    "no_assertion": Spoilt(signed=None),
    "wrong_signature": Spoilt(signed="other_key"),
    "unknown_kid": Spoilt(signed="unknown_kid"),
    "alg_none": Spoilt(signed="alg_none"),
    "alg_hs256": Spoilt(signed="alg_hs256"),
    "wrong_type": Spoilt(signed="access_token"),
    "wrong_issuer": Spoilt(claims={"iss": "https://somebody-else.invalid"}),
    "expired": Spoilt(shift_s=-300),
    "not_yet_valid": Spoilt(shift_s=300),
    "altered_body": Spoilt(altered_body=True),
    "altered_context": Spoilt(altered_context=True),
}
_NO_REFUSAL: Final = frozenset({404, 405, 408, 429})
"""4xx that say nothing of whether the product looked."""
_BOOKED: Final = frozenset({"recorded", "already_recorded", "disputed"})
_VOIDED: Final = frozenset({"voided", "already_voided", "not_found"})


def requests(case: CaseName, probes: Probes, key: UUID) -> list[Probe]:
    """What the case sends, one after the other; `key` is a purchase of its own."""
    if case in _SPOILT:
        return [probes.ask(key, _SPOILT[case])]
    match case:
        case "health":
            return [probes.health()]
        case "valid_request":
            return [probes.ask(key)]
        case "answers_in_time":
            return [probes.ask(key) for _ in range(CALLS_TIMED)]
        case "wrong_audience":
            return [probes.ask(key, probes.another_product())]
        case "other_tenants_audience":
            return [probes.ask(key, probes.elsewhere())]
        case "void_assertion_at_authorize":
            return [probes.ask(key, action="void")]
        case "replayed_jti":
            return [probes.ask(key)] * 2
        case "same_key_same_answer":
            return [probes.ask(key), probes.ask(key)]
        case "same_key_other_context":
            return [probes.ask(key), probes.ask(key, Spoilt(other_context=True))]
        case _:
            return _about_voids(case, probes, key)


def _about_voids(case: CaseName, probes: Probes, key: UUID) -> list[Probe]:
    match case:
        case "void_wrong_signature":
            return [probes.ask(key, Spoilt(signed="other_key"), door="void")]
        case "authorize_assertion_at_void":
            return [probes.ask(key, door="void", action=probes.action)]
        case "void_twice":
            return [probes.ask(key), *(probes.ask(key, door="void") for _ in range(2))]
        case "void_before_authorize":
            return [probes.ask(key, door="void"), probes.ask(key)]
        case "authorize_after_void":
            return [probes.ask(key), probes.ask(key, door="void"), probes.ask(key)]
        case _:
            return _about_advice(case, probes, key)


def _about_advice(case: CaseName, probes: Probes, key: UUID) -> list[Probe]:
    match case:
        case "advice_wrong_signature":
            return [probes.ask(key, Spoilt(signed="other_key"), door="advice")]
        case "authorize_assertion_at_advice":
            return [probes.ask(key, door="advice", action=probes.action)]
        case "advice_twice":
            return [probes.ask(key, door="advice") for _ in range(2)]
        case "advice_after_void":
            return [probes.ask(key, door="void"), probes.ask(key, door="advice")]
        case _:
            raise AssertionError(f"{case} has no requests")


def judged(case: CaseName, answers: Sequence[ProbeAnswer], timeout_s: float) -> CaseResult:
    """Whether the answers are what a product that checks would say."""
    fault = _fault(case, answers, timeout_s)
    return CaseResult(case=case, verdict="failed" if fault else "passed", found=fault or "as_due")


def _fault(case: CaseName, answers: Sequence[ProbeAnswer], timeout_s: float) -> str | None:
    last = answers[-1]
    match case:
        case "health":
            return None if 200 <= last.status <= 299 else f"status_{last.status}"
        case "valid_request":
            return _undecided(last)
        case "answers_in_time":
            slow = any(each.took_s > timeout_s for each in answers)
            return "too_slow" if slow else _first(_undecided(each) for each in answers)
        case "same_key_same_answer":
            return _undecided(answers[0]) or _undecided(last) or _differing(answers[0], last)
        case "same_key_other_context":
            denied = decision(answers[0]) == "allow" and decision(last) == "deny"
            return _undecided(answers[0]) or (None if denied else _accepted(last))
        case "replayed_jti":
            return _undecided(answers[0]) or _accepted(last)
        case "void_twice":
            return _undecided(answers[0]) or _first(_unvoided(each) for each in answers[1:])
        case "void_before_authorize":
            return _unvoided(answers[0]) or _allowed_after(last)
        case "authorize_after_void":
            return _undecided(answers[0]) or _unvoided(answers[1]) or _allowed_after(last)
        case "advice_twice":
            first = _told(answers[0])
            return (
                _unbooked(answers[0])
                or _unbooked(last)
                or ("booked_again" if (first, _told(last)) == ("recorded", "recorded") else None)
            )
        case "advice_after_void":
            booked = _told(last) == "recorded"
            return _unvoided(answers[0]) or ("booked_after_void" if booked else _unanswered(last))
        case _:
            return _accepted(last)


def took_effect(answer: ProbeAnswer) -> bool:
    """Whether the product did something that must be given back."""
    return decision(answer) == "allow" or _told(answer) == "recorded"


def decision(answer: ProbeAnswer) -> str | None:
    """The product's decision, when the answer is well formed."""
    said = (answer.answer or {}).get("decision") if answer.status == 200 else None
    return said if said in ("allow", "deny") else None


def _undecided(answer: ProbeAnswer) -> str | None:
    if decision(answer) is not None:
        return None
    return "malformed" if answer.status == 200 else f"status_{answer.status}"


def _accepted(answer: ProbeAnswer) -> str | None:
    """What is wrong unless the product refused, as one that looks does: with 4xx.

    A denial is no refusal: the product believed who is asking, and said no for another reason.
    """
    if 400 <= answer.status <= 499 and answer.status not in _NO_REFUSAL:
        return None
    said = decision(answer)
    return f"status_{answer.status}" if said is None else f"answered_{said}"


def _told(answer: ProbeAnswer) -> object:
    """What the product says of a void or an advice, when it took it."""
    return (answer.answer or {}).get("status") if answer.status == 200 else None


def _unanswered(answer: ProbeAnswer) -> str | None:
    return None if answer.status == 200 else f"status_{answer.status}"


def _unvoided(answer: ProbeAnswer) -> str | None:
    if _told(answer) in _VOIDED:
        return None
    return _unanswered(answer) or "not_voided"


def _unbooked(answer: ProbeAnswer) -> str | None:
    if _told(answer) in _BOOKED:
        return None
    return _unanswered(answer) or "not_recorded"


def _allowed_after(answer: ProbeAnswer) -> str | None:
    """After a void nothing may be allowed; to be refused is as good as to be denied."""
    if decision(answer) == "deny" or 400 <= answer.status <= 499:
        return None
    return "allowed_after_void" if decision(answer) == "allow" else f"status_{answer.status}"


def _differing(first: ProbeAnswer, second: ProbeAnswer) -> str | None:
    for member in ("decision", "reference_id", "reason_code"):
        if (first.answer or {}).get(member) != (second.answer or {}).get(member):
            return "another_answer"
    return None


def _first(faults: Iterable[str | None]) -> str | None:
    return next((fault for fault in faults if fault), None)
