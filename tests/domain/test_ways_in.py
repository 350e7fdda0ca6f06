"""Ways in are added by who has just proved to be there, and the last one stays."""

import pytest

from domain.errors import Conflict, Forbidden, NotFound
from domain.events import DomainEvent
from domain.user import User, link, rebuild, set_password, unlink, ways_in
from tests.builders import (
    EMAIL_CLAIM,
    GOOGLE_CLAIM,
    MOBILE_CLAIM,
    user_account_linked,
    user_account_unlinked,
    user_changed,
    user_password_removed,
    user_password_set,
    user_signed_up,
    user_suspended,
)
from tests.spec import recorded

ALL = frozenset({"otp_sms", "otp_email", "password", "google", "apple"})
BY_GOOGLE = user_signed_up(method="google", fields=(), claims={"google": GOOGLE_CLAIM})


def after(*events: DomainEvent) -> User:
    user = rebuild(recorded(*events))
    assert user is not None
    return user


def test_everything_that_happened_to_them_adds_up() -> None:
    assert ways_in(after(user_signed_up())) == {"mobile"}
    assert ways_in(after(BY_GOOGLE)) == {"google"}
    person = (user_signed_up(), user_changed(), user_password_set(), user_account_linked())
    assert ways_in(after(*person)) == {"mobile", "email", "password", "google"}
    fewer = (*person, user_account_unlinked(), user_password_removed())
    assert ways_in(after(*fewer)) == {"mobile", "email"}


def test_a_password_is_no_way_in_without_an_address() -> None:
    assert ways_in(after(user_signed_up(), user_password_set())) == {"mobile"}
    with pytest.raises(Conflict, match="email_missing"):
        set_password(after(user_signed_up()), "set")


def test_an_account_is_linked_once_and_never_two_at_a_provider() -> None:
    person = after(user_signed_up())
    assert link(person, "google", GOOGLE_CLAIM) == [user_account_linked()]
    linked = after(user_signed_up(), user_account_linked())
    assert link(linked, "google", GOOGLE_CLAIM) == []
    with pytest.raises(Conflict, match="account_linked_already"):
        link(linked, "google", EMAIL_CLAIM)
    assert link(linked, "apple", EMAIL_CLAIM) != []


def test_what_one_does_not_have_cannot_be_taken_away() -> None:
    for way in ("google", "apple", "password"):
        with pytest.raises(NotFound, match="way_in_not_found"):
            unlink(after(user_signed_up()), way, ALL)


def test_the_last_way_in_stays_and_a_disabled_one_does_not_count() -> None:
    with pytest.raises(Conflict, match="last_way_in"):
        unlink(after(BY_GOOGLE), "google", ALL)
    linked = after(user_signed_up(), user_account_linked())
    assert unlink(linked, "google", ALL) == [user_account_unlinked()]
    with pytest.raises(Conflict, match="last_way_in"):
        unlink(linked, "google", ALL - {"otp_sms"})
    by_e_mail = user_signed_up(method="otp_email", fields=("email",), claims={})
    assert unlink(after(by_e_mail, user_password_set()), "password", ALL) == [
        user_password_removed()
    ]


def test_nobody_suspended_changes_how_to_come_in() -> None:
    person = after(user_signed_up(), user_account_linked(), user_suspended())
    with pytest.raises(Forbidden, match="user_suspended"):
        link(person, "apple", MOBILE_CLAIM)
    with pytest.raises(Forbidden, match="user_suspended"):
        unlink(person, "google", ALL)
    with pytest.raises(Forbidden, match="user_suspended"):
        set_password(person, "set")
