"""Every outcome has its sentence, in both languages, and no two are told alike."""

import unicodedata
from datetime import timedelta
from itertools import product
from typing import Any, get_args

import msgspec
import pytest

from domain import transaction as x
from domain.events import DomainEvent, Recorded
from domain.transaction import sentences as told
from tests import builders
from tests.builders import NOW
from tests.spec import recorded

RECEIVED = (builders.transaction_received(),)
ASKED = (
    *RECEIVED,
    builders.transaction_identified(),
    builders.transaction_authorization_requested(),
)
TABLES: list[tuple[Any, dict[Any, x.Sentence]]] = [
    (x.NotRecognizedReason, told.NOT_RECOGNIZED),
    (x.RefusedReason, told.REFUSED),
    (x.FailClosedReason, told.FAILED_CLOSED),
    (x.StandInReason, told.FAILED_OPEN),
    (x.VendorFailure, told.VENDOR_FAILED),
    (x.Debt, told.VOIDS),
    (x.Debt, told.ADVICE),
]


def stream(*events: DomainEvent) -> list[Recorded]:
    return recorded(*events)


def built(*events: Any) -> x.Transaction:
    transaction = x.rebuild(stream(*events))
    assert transaction is not None
    return transaction


def all_transactions() -> list[x.Transaction]:
    """One of every outcome and reason there is, and of every state before."""
    decisions: list[x.Decision] = [
        builders.transaction_allowed(),
        builders.transaction_denied(),
        builders.transaction_forbidden(),
    ]
    by_reason: list[tuple[Any, Any]] = [
        (x.NotRecognizedReason, builders.transaction_not_recognized),
        (x.RefusedReason, builders.transaction_refused),
        (x.FailClosedReason, builders.transaction_failed_closed),
        (x.StandInReason, builders.transaction_failed_open),
    ]
    for reasons, build in by_reason:
        decisions += [build(reason=reason) for reason in get_args(reasons)]
    assert {type(each) for each in decisions} == set(get_args(x.Decision))
    failed = [
        built(*RECEIVED, builders.transaction_vendor_failed(reason=reason))
        for reason in get_args(x.VendorFailure)
    ]
    begun, asked = built(*RECEIVED), built(*ASKED)
    decided = [msgspec.structs.replace(asked, decision=each) for each in decisions]
    return [begun, asked, *failed, *decided]


@pytest.mark.parametrize(("reasons", "table"), TABLES)
def test_every_reason_stands_in_its_table(reasons: Any, table: dict[Any, x.Sentence]) -> None:
    """A reason that is added without its sentence is found here, before anybody asks."""
    assert set(table) == set(get_args(reasons))


def test_every_outcome_and_reason_has_both_and_no_two_are_alike() -> None:
    debts = get_args(x.Debt)
    for language in ("en", "ar"):
        seen: dict[str, str] = {}
        for transaction, void, advice in product(all_transactions(), debts, debts):
            owing = msgspec.structs.replace(transaction, void=void, advice=advice)
            text = getattr(x.sentence(owing), language)
            what = f"{transaction.status} {transaction.decision} {void} {advice}"
            assert text.endswith(".")
            assert text not in seen, (what, seen[text])
            seen[text] = what


def test_arabic_is_arabic_and_neither_has_marks_of_direction() -> None:
    debts = get_args(x.Debt)
    for transaction, void, advice in product(all_transactions(), debts, debts):
        text = x.sentence(msgspec.structs.replace(transaction, void=void, advice=advice))
        for letter in text.en + text.ar:
            assert unicodedata.category(letter) not in ("Cc", "Cf", "Co"), hex(ord(letter))
        assert all(letter.isascii() for letter in text.en)
        for letter in text.ar:
            assert not letter.isascii() or letter in " .", letter
            if letter.isalpha():
                assert unicodedata.bidirectional(letter) == "AL"


def test_the_course_is_in_order_and_says_what_each_step_took() -> None:
    """Seen to fail with the wait for the product left out of what is not ours."""
    second = timedelta(seconds=1)
    events = [
        builders.transaction_received(received_at=NOW),
        builders.transaction_identified(identify_ms=850.0),
        builders.transaction_authorization_requested(),
        builders.transaction_allowed(authorize_ms=40.0, decided_at=NOW + second, total_ms=1000.0),
        builders.transaction_relayed(relayed_at=NOW + 1.1 * second),
    ]
    past = [
        msgspec.structs.replace(each, recorded_at=NOW + at * second)
        for each, at in zip(stream(*events), (0.9, 0.9, 0.91, 1.01, 1.2), strict=True)
    ]
    steps = {step.name: step for step in x.course(past)}
    assert list(steps) == [
        "received",
        "identify",
        "intent_committed",
        "authorize",
        "decided",
        "decision_committed",
        "relayed",
    ]
    assert (steps["identify"].offset_ms, steps["identify"].ms) == (0.0, 850.0)
    assert (steps["authorize"].offset_ms, steps["authorize"].ms) == (960.0, 40.0)
    assert steps["relayed"].offset_ms == 1100.0
    assert x.own_ms(past) == 110.0
    assert x.own_ms(past[:3]) is None


def test_every_event_of_a_transaction_has_its_step() -> None:
    for event in get_args(x.TransactionEvent):
        if event in (x.TransactionReceived, x.Decision):
            continue
        built_one = getattr(builders, event.NAME.replace(".", "_"))()
        assert len(x.course(stream(*RECEIVED, built_one))) > 1, event
