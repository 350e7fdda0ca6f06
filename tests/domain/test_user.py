"""A person signs up, agrees, disagrees, is suspended and has palms."""

from uuid import UUID

import pytest

from domain.errors import Conflict, Forbidden, Invalid, NotFound
from domain.events import DomainEvent
from domain.folding import UnexpectedEvent
from domain.ids import PalmRef
from domain.user import (
    PALM_ENROLLMENT,
    ConsentStatus,
    User,
    add_palm,
    change,
    change_kyc,
    finish_palm_removal,
    grant_consent,
    rebuild,
    resume,
    sign_up,
    start_palm_removal,
    suspend,
    withdraw_consent,
)
from tests.builders import (
    PALM,
    claim_taken,
    user_changed,
    user_consent_granted,
    user_consent_withdrawn,
    user_erasure_started,
    user_kyc_changed,
    user_palm_added,
    user_palm_removal_started,
    user_palm_removed,
    user_resumed,
    user_signed_up,
    user_suspended,
)
from tests.spec import STREAM, TENANT, given, recorded

SIGNED_UP = (user_signed_up(),)
GRANTED = (*SIGNED_UP, user_consent_granted(consent_version="1"))
WITHDRAWN = (*GRANTED, user_consent_withdrawn())
GRANTED_AGAIN = (*WITHDRAWN, user_consent_granted(consent_version="2"))
SUSPENDED = (*SIGNED_UP, user_suspended())


def user_after(*events: DomainEvent) -> User:
    user = rebuild(recorded(*events))
    assert user is not None
    return user


def test_a_person_signs_up() -> None:
    given(rebuild).when(sign_up, user_signed_up()).then(user_signed_up())


def test_signing_up_twice_changes_nothing() -> None:
    given(rebuild, *SIGNED_UP).when(sign_up, user_signed_up(method="otp_email")).then_nothing()


@pytest.mark.parametrize(
    ("past", "current", "status"),
    [
        (SIGNED_UP, "1", "none"),
        (GRANTED, "1", "granted"),
        (GRANTED, "2", "outdated"),
        (WITHDRAWN, "1", "withdrawn"),
        (WITHDRAWN, "2", "withdrawn"),
        (GRANTED_AGAIN, "2", "granted"),
        (GRANTED_AGAIN, "1", "outdated"),
    ],
)
def test_a_consent_is_to_one_version_of_the_words(
    past: tuple[DomainEvent, ...], current: str, status: ConsentStatus
) -> None:
    assert user_after(*past).consent_status(PALM_ENROLLMENT, current) == status
    assert user_after(*past).consent_status("marketing", current) == "none"


@pytest.mark.parametrize(
    ("past", "version"),
    [(SIGNED_UP, "1"), (GRANTED, "2"), (WITHDRAWN, "1"), (GRANTED_AGAIN, "3"), (SUSPENDED, "1")],
)
def test_a_person_agrees_to_the_words_in_force(past: tuple[DomainEvent, ...], version: str) -> None:
    granted = user_consent_granted(consent_version=version)
    given(rebuild, *past).when(grant_consent, granted, current_version=version).then(granted)


def test_agreeing_again_to_the_same_words_changes_nothing() -> None:
    given(rebuild, *GRANTED).when(
        grant_consent, user_consent_granted(consent_version="1"), current_version="1"
    ).then_nothing()


def test_nobody_agrees_to_words_that_are_no_longer_shown() -> None:
    given(rebuild, *SIGNED_UP).when(
        grant_consent, user_consent_granted(consent_version="1"), current_version="2"
    ).then_refused(Conflict, "consent_version_outdated")


@pytest.mark.parametrize(
    "consent_type", ["", "Palm", "1palm", "palm enrollment", "palm\n", "pälm", "p" * 64]
)
def test_a_purpose_has_one_plain_spelling(consent_type: str) -> None:
    given(rebuild, *SIGNED_UP).when(
        grant_consent, user_consent_granted(consent_type=consent_type), current_version="1"
    ).then_refused(Invalid, "consent_type_invalid")


@pytest.mark.parametrize("past", [GRANTED, GRANTED_AGAIN])
def test_a_consent_can_be_withdrawn(past: tuple[DomainEvent, ...]) -> None:
    given(rebuild, *past).when(withdraw_consent, PALM_ENROLLMENT).then(user_consent_withdrawn())


@pytest.mark.parametrize("past", [SIGNED_UP, WITHDRAWN])
def test_withdrawing_what_was_not_given_changes_nothing(past: tuple[DomainEvent, ...]) -> None:
    given(rebuild, *past).when(withdraw_consent, PALM_ENROLLMENT).then_nothing()


def test_withdrawing_one_purpose_leaves_the_others() -> None:
    marketing = user_consent_granted(consent_type="marketing")
    user = user_after(*GRANTED, marketing, user_consent_withdrawn(consent_type="marketing"))
    assert user.consent_status(PALM_ENROLLMENT, "1") == "granted"
    assert user.consent_status("marketing", "1") == "withdrawn"


def test_a_person_is_suspended_and_resumed() -> None:
    given(rebuild, *SIGNED_UP).when(suspend, "under_review").then(user_suspended())
    given(rebuild, *SUSPENDED).when(resume).then(user_resumed())


def test_suspending_twice_and_resuming_the_active_change_nothing() -> None:
    given(rebuild, *SUSPENDED).when(suspend, "requested").then_nothing()
    given(rebuild, *SIGNED_UP).when(resume).then_nothing()
    given(rebuild, *SUSPENDED, user_resumed()).when(resume).then_nothing()


def test_a_palm_becomes_a_persons_once() -> None:
    given(rebuild, *SIGNED_UP).when(add_palm, PALM, "right").then(user_palm_added())
    given(rebuild, *SIGNED_UP, user_palm_added()).when(add_palm, PALM, "right").then_nothing()


def test_a_person_may_have_two_palms() -> None:
    other = PalmRef(UUID(int=7))
    user = user_after(*SIGNED_UP, user_palm_added(), user_palm_added(palm_ref=other, hand="left"))
    assert user.palms == {PALM: "right", other: "left"}


def test_a_person_remembers_what_happened_to_them() -> None:
    user = user_after(*GRANTED, user_suspended())
    assert (user.id, user.tenant_id, user.version) == (STREAM, TENANT, 3)
    assert (user.status, user.kyc_status) == ("suspended", "none")
    assert user_after(*GRANTED, user_suspended(), user_resumed()).status == "active"


@pytest.mark.parametrize(
    "stray",
    [
        (user_suspended(),),
        (user_consent_granted(),),
        (claim_taken(),),
        (*SIGNED_UP, claim_taken()),
    ],
)
def test_a_stream_of_something_else_is_no_person(stray: tuple[DomainEvent, ...]) -> None:
    with pytest.raises(UnexpectedEvent):
        rebuild(recorded(*stray))


WITH_A_PALM = (*SIGNED_UP, user_palm_added())
LEAVING = (*WITH_A_PALM, user_palm_removal_started())


def test_a_palm_is_taken_away_once_and_leaves_until_it_has_gone() -> None:
    start = given(rebuild, *WITH_A_PALM).when(start_palm_removal, PALM, "requested")
    start.then(user_palm_removal_started())
    given(rebuild, *LEAVING).when(start_palm_removal, PALM, "erasure").then_nothing()
    user = user_after(*LEAVING)
    assert (dict(user.palms), dict(user.leaving)) == ({}, {PALM: "right"})
    given(rebuild, *LEAVING).when(finish_palm_removal, PALM).then(user_palm_removed())
    user = user_after(*LEAVING, user_palm_removed())
    assert (dict(user.palms), dict(user.leaving)) == ({}, {})
    given(rebuild, *LEAVING, user_palm_removed()).when(finish_palm_removal, PALM).then_nothing()


def test_a_palm_that_is_not_the_persons_is_not_taken_away() -> None:
    for past in (SIGNED_UP, (*LEAVING, user_palm_removed())):
        with pytest.raises(NotFound, match="palm_not_found"):
            start_palm_removal(user_after(*past), PALM, "requested")


def test_what_the_vault_holds_of_a_person_is_known_by_name() -> None:
    changed = user_changed()
    user = user_after(*SIGNED_UP, changed)
    assert user.fields == {"email", "mobile"}
    assert user.claims == changed.claims
    given(rebuild, *SIGNED_UP).when(change, changed).then(changed)
    given(rebuild, *SIGNED_UP).when(change, user_changed(changed=())).then_nothing()
    given(rebuild, *SIGNED_UP, user_erasure_started()).when(change, changed).then_refused(
        Forbidden, "user_erased"
    )


def test_kyc_says_only_what_is_new() -> None:
    verified = user_kyc_changed(status="verified", level="basic")
    given(rebuild, *SIGNED_UP).when(change_kyc, "verified", "basic").then(verified)
    given(rebuild, *SIGNED_UP, verified).when(change_kyc, "verified", "basic").then_nothing()
    expired = user_kyc_changed(status="expired", level="basic")
    given(rebuild, *SIGNED_UP, verified).when(change_kyc, "expired", "basic").then(expired)
    given(rebuild, *SIGNED_UP).when(change_kyc, "pending", "basic").then_refused(
        Invalid, "kyc_level_invalid"
    )
    given(rebuild, *SIGNED_UP).when(change_kyc, "verified", "No").then_refused(
        Invalid, "kyc_level_invalid"
    )
