"""Console people: who may come in, with which role, and what they prove it with."""

from datetime import timedelta
from uuid import UUID

import pytest

from domain import operator as o
from domain import operator_session as os
from domain import platform_admins as pa
from domain.errors import Conflict, Forbidden, Gone, Invalid, Unauthenticated
from domain.folding import UnexpectedEvent
from domain.ids import PLATFORM, OperatorId
from tests.builders import (
    NOW,
    OPERATOR,
    operator_accepted,
    operator_invited,
    operator_password_set,
    operator_recovered,
    operator_recovery_code_used,
    operator_recovery_codes_issued,
    operator_removed,
    operator_resumed,
    operator_role_changed,
    operator_seeded,
    operator_session_ended,
    operator_session_started,
    operator_suspended,
    operator_totp_enrolled,
    operator_totp_removed,
    platform_admin_added,
    platform_admin_taken,
    tenant_created,
)
from tests.spec import TENANT, given, recorded

nobody = given(o.rebuild)
invited = given(o.rebuild, operator_invited())
active = given(o.rebuild, operator_invited(), operator_accepted())
with_app = given(
    o.rebuild,
    operator_invited(),
    operator_accepted(),
    operator_totp_enrolled(),
    operator_recovery_codes_issued(),
)
suspended = given(o.rebuild, operator_invited(), operator_accepted(), operator_suspended())
removed = given(o.rebuild, operator_invited(), operator_accepted(), operator_removed())
DAY = timedelta(days=1)


def test_a_tenants_person_is_invited_for_a_week() -> None:
    nobody.when(o.invite, TENANT, "tenant_admin", NOW).then(operator_invited())
    invited.when(o.invite, TENANT, "tenant_admin", NOW).then_nothing()
    invited.when(o.invite, TENANT, "tenant_operator", NOW).then_refused(
        Invalid, "idempotency_key_reused"
    )


def test_the_platform_has_platform_admins_and_a_tenant_has_the_others() -> None:
    nobody.when(o.invite, TENANT, "platform_admin", NOW).then_refused(Invalid, "role_not_here")
    nobody.when(o.invite, PLATFORM, "tenant_admin", NOW).then_refused(Invalid, "role_not_here")
    active.when(o.change_role, "platform_admin").then_refused(Invalid, "role_not_here")


def test_an_invitation_is_taken_up_once_and_in_time() -> None:
    invited.when(o.accept, 1, NOW).then(operator_accepted())
    invited.when(o.accept, 1, NOW + 7 * DAY).then_refused(Gone, "invitation_expired")
    for who, number in ((invited, 2), (active, 1), (removed, 1), (nobody, 1)):
        who.when(o.accept, number, NOW).then_refused(Unauthenticated, "invitation_invalid")


def test_another_invitation_makes_the_one_before_worth_nothing() -> None:
    again = operator_invited(invitation=2)
    invited.when(o.invite_again, NOW).then(again)
    twice = given(o.rebuild, operator_invited(), again)
    twice.when(o.accept, 1, NOW).then_refused(Unauthenticated, "invitation_invalid")
    twice.when(o.accept, 2, NOW).then(operator_accepted())
    active.when(o.invite_again, NOW).then_refused(Conflict, "operator_not_invited")


def test_a_role_is_changed_and_who_is_gone_has_none() -> None:
    active.when(o.change_role, "tenant_operator").then(operator_role_changed())
    active.when(o.change_role, "tenant_admin").then_nothing()
    removed.when(o.change_role, "tenant_operator").then_refused(Conflict, "operator_removed")


def test_who_is_suspended_comes_back_and_who_is_removed_does_not() -> None:
    active.when(o.suspend).then(operator_suspended())
    suspended.when(o.suspend).then_nothing()
    suspended.when(o.resume).then(operator_resumed())
    active.when(o.resume).then_nothing()
    for decision in (o.suspend, o.resume):
        invited.when(decision).then_refused(Conflict, "operator_not_active")
        removed.when(decision).then_refused(Conflict, "operator_removed")
    active.when(o.remove).then(operator_removed())
    removed.when(o.remove).then_nothing()


def test_the_first_admin_must_change_the_password() -> None:
    nobody.when(o.seed, NOW).then(operator_seeded())
    given(o.rebuild, operator_seeded()).when(o.seed, NOW).then_nothing()
    seeded = o.rebuild(recorded(operator_seeded()))
    assert seeded is not None
    assert (seeded.role, seeded.status) == ("platform_admin", "active")
    assert seeded.must_change_password
    changed = o.rebuild(recorded(operator_seeded(), operator_password_set()))
    assert changed is not None
    assert not changed.must_change_password


def test_a_recovery_takes_every_second_factor_and_lets_in_again() -> None:
    suspended.when(o.recover, NOW).then(operator_resumed(), operator_recovered())
    with_app.when(o.recover, NOW).then(operator_recovered())
    invited.when(o.recover, NOW).then_refused(Conflict, "operator_not_active")
    removed.when(o.recover, NOW).then_refused(Conflict, "operator_removed")
    state = o.rebuild(
        recorded(
            operator_invited(),
            operator_accepted(),
            operator_totp_enrolled(),
            operator_recovery_codes_issued(),
            operator_recovered(),
        )
    )
    assert state is not None
    assert not state.has_second_factor
    assert (state.recovery_codes, state.must_change_password) == (0, True)


def test_an_app_comes_with_recovery_codes_and_goes_with_them() -> None:
    active.when(o.enroll_totp).then(operator_totp_enrolled(), operator_recovery_codes_issued())
    with_app.when(o.issue_recovery_codes).then(operator_recovery_codes_issued())
    active.when(o.issue_recovery_codes).then_refused(Conflict, "totp_not_enrolled")
    with_app.when(o.use_recovery_code).then(operator_recovery_code_used())
    with_app.when(o.remove_totp, required=False).then(operator_totp_removed())
    active.when(o.remove_totp, required=False).then_nothing()


def test_a_second_factor_stays_where_one_is_required() -> None:
    with_app.when(o.remove_totp, required=True).then_refused(Conflict, "second_factor_needed")


@pytest.mark.parametrize(
    "decision", [o.set_password, o.enroll_totp, o.issue_recovery_codes, o.use_recovery_code]
)
def test_who_may_not_come_in_changes_nothing(decision: object) -> None:
    assert callable(decision)
    for who in (suspended, removed, invited):
        who.when(decision).then_refused(Forbidden, "operator_not_served")


def test_an_event_of_another_kind_is_nobodys() -> None:
    for events in ((tenant_created(),), (operator_accepted(),)):
        with pytest.raises(UnexpectedEvent):
            o.rebuild(recorded(*events))
    with pytest.raises(UnexpectedEvent):
        o.rebuild(recorded(operator_invited(), tenant_created()))


ANOTHER = OperatorId(UUID(int=7))
one = given(pa.rebuild, platform_admin_added())
two = given(pa.rebuild, platform_admin_added(), platform_admin_added(operator_id=ANOTHER))


def test_the_last_platform_admin_stays() -> None:
    given(pa.rebuild).when(pa.add, OPERATOR).then(platform_admin_added())
    one.when(pa.add, OPERATOR).then_nothing()
    two.when(pa.take, OPERATOR).then(platform_admin_taken())
    one.when(pa.take, OPERATOR).then_refused(Conflict, "last_platform_admin")
    one.when(pa.take, ANOTHER).then_nothing()
    given(pa.rebuild).when(pa.take, OPERATOR).then_nothing()


def test_a_session_begins_once_and_ends_once() -> None:
    given(os.rebuild).when(os.start, operator_session_started()).then(operator_session_started())
    open_one = given(os.rebuild, operator_session_started())
    open_one.when(os.start, operator_session_started()).then_nothing()
    open_one.when(os.end, "role_changed").then(operator_session_ended())
    given(os.rebuild, operator_session_started(), operator_session_ended()).when(
        os.end, "removed"
    ).then_nothing()
    given(os.rebuild).when(os.end, "removed").then_nothing()
