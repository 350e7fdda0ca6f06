"""Two people, one deed: who may agree, when it may be done, and that it is done once."""

from datetime import timedelta
from uuid import UUID

from domain import approval as a
from domain.errors import Conflict, Forbidden, Gone, Invalid
from tests.builders import (
    NOW,
    approval_asked,
    approval_carried_out,
    approval_given,
    approval_refused,
)
from tests.spec import TENANT, given

ASKER, OTHER = "system:test", "operator:another"
"""Events in `given` are recorded as the asker's."""
DAY = timedelta(days=1)
SOON = approval_given(usable_from=NOW)
asked = given(a.rebuild, approval_asked())
agreed = given(a.rebuild, approval_asked(), SOON)
waiting = given(a.rebuild, approval_asked(), approval_given())
refused = given(a.rebuild, approval_asked(), approval_refused())
done = given(a.rebuild, approval_asked(), SOON, approval_carried_out())


def test_asking_says_what_for_and_until_when() -> None:
    given(a.rebuild).when(a.ask, "tenant.delete", TENANT, wait=DAY, lives=7 * DAY, now=NOW).then(
        approval_asked()
    )


def test_asking_again_says_nothing_and_for_something_else_is_refused() -> None:
    asked.when(a.ask, "tenant.delete", TENANT, wait=DAY, lives=7 * DAY, now=NOW).then_nothing()
    asked.when(a.ask, "user.erase", TENANT, wait=DAY, lives=7 * DAY, now=NOW).then_refused(
        Invalid, "idempotency_key_reused"
    )


def test_somebody_else_agrees_and_the_wait_begins() -> None:
    asked.when(a.give, OTHER, NOW).then(approval_given())


def test_nobody_agrees_with_themselves() -> None:
    asked.when(a.give, ASKER, NOW).then_refused(Forbidden, "approval_needs_another_person")


def test_what_is_decided_is_not_agreed_to() -> None:
    refused.when(a.give, OTHER, NOW).then_refused(Conflict, "approval_decided")
    done.when(a.give, OTHER, NOW).then_refused(Conflict, "approval_decided")
    agreed.when(a.give, OTHER, NOW).then_refused(Conflict, "approval_decided")


def test_an_agreement_comes_in_time() -> None:
    asked.when(a.give, OTHER, NOW + 7 * DAY).then_refused(Gone, "approval_expired")


def test_it_is_refused_until_it_is_done() -> None:
    asked.when(a.refuse, NOW).then(approval_refused())
    agreed.when(a.refuse, NOW).then(approval_refused())
    refused.when(a.refuse, NOW).then_nothing()
    done.when(a.refuse, NOW).then_refused(Conflict, "approval_decided")
    asked.when(a.refuse, NOW + 7 * DAY).then_refused(Gone, "approval_expired")
    agreed.when(a.refuse, NOW + 7 * DAY).then_refused(Gone, "approval_expired")


def test_it_is_done_once_after_the_wait() -> None:
    waiting.when(a.carry_out, "tenant.delete", TENANT, NOW + DAY).then(approval_carried_out())
    waiting.when(a.carry_out, "tenant.delete", TENANT, NOW).then_refused(
        Conflict, "approval_waiting"
    )
    done.when(a.carry_out, "tenant.delete", TENANT, NOW).then_refused(Conflict, "approval_decided")


def test_it_is_done_only_when_agreed_to_and_in_time() -> None:
    asked.when(a.carry_out, "tenant.delete", TENANT, NOW).then_refused(
        Forbidden, "approval_required"
    )
    refused.when(a.carry_out, "tenant.delete", TENANT, NOW).then_refused(
        Conflict, "approval_decided"
    )
    agreed.when(a.carry_out, "tenant.delete", TENANT, NOW + 7 * DAY).then_refused(
        Gone, "approval_expired"
    )


def test_it_is_done_to_nothing_else() -> None:
    agreed.when(a.carry_out, "user.erase", TENANT, NOW).then_refused(Forbidden, "approval_required")
    agreed.when(a.carry_out, "tenant.delete", UUID(int=7), NOW).then_refused(
        Forbidden, "approval_required"
    )
