"""Refresh tokens by number: one line, whoever loses an answer, and whoever steals a token."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given as given_any
from hypothesis import settings
from hypothesis import strategies as st

from domain.errors import Unauthenticated
from domain.ids import UserSessionId
from domain.user_session import (
    ACR_ONE_KIND,
    ACR_TWO_KINDS,
    FRESH_FOR,
    REPEAT_WITHIN,
    Exchange,
    Line,
    Presented,
    acr,
    check_fresh,
    detect_reuse,
    end,
    exchange,
    prove_again,
    reauthenticate,
    rebuild,
    start,
)
from tests.builders import (
    NOW,
    USER,
    user_session_ended,
    user_session_reauthenticated,
    user_session_reuse_detected,
    user_session_started,
)
from tests.spec import STREAM, given

IDLE = timedelta(days=30)
OURS, THEIRS = "ours", "theirs"
LINE = Line(
    session_id=UserSessionId(STREAM),
    user_id=USER,
    method="otp_sms",
    installation=OURS,
    number=5,
    rotated_at=NOW,
    authenticated_at=NOW,
    created_at=NOW,
    idle_until=NOW + IDLE,
    expires_at=NOW + timedelta(days=180),
)


def present(number: int, *, by: str = OURS, after: timedelta = timedelta(seconds=1)) -> Exchange:
    return exchange(LINE, Presented(number=number, installation=by), NOW + after, IDLE)


def test_the_current_token_is_traded_for_the_next() -> None:
    told = present(5)
    assert (told.outcome, told.line.number) == ("served", 6)
    assert told.line.idle_until == NOW + timedelta(seconds=1) + IDLE


def test_whoever_lost_the_answer_gets_the_same_successor_for_a_while() -> None:
    assert (present(4).outcome, present(4).line.number) == ("served", 5)
    late = present(4, after=REPEAT_WITHIN)
    assert (late.outcome, late.line.ended_by) == ("reused", "refresh_token_reused")


@pytest.mark.parametrize("number", [1, 3, 6])
def test_an_older_token_ends_the_line(number: int) -> None:
    assert present(number).outcome == "reused"


@pytest.mark.parametrize("number", [4, 5])
def test_nobody_elses_installation_is_served_and_the_line_ends(number: int) -> None:
    told = present(number, by=THEIRS)
    assert (told.outcome, told.line.ended_at) == ("reused", NOW + timedelta(seconds=1))


def test_what_has_ended_or_run_out_is_refused_and_stays_as_it_is() -> None:
    for over in (
        msgspec.structs.replace(LINE, ended_at=NOW, ended_by="signed_out"),
        msgspec.structs.replace(LINE, idle_until=NOW),
        msgspec.structs.replace(LINE, expires_at=NOW),
    ):
        told = exchange(over, Presented(number=3, installation=THEIRS), NOW, IDLE)
        assert (told.outcome, told.line) == ("refused", over)


def test_a_client_that_proves_its_key_keeps_its_token() -> None:
    bound = msgspec.structs.replace(LINE, key_thumbprint="key")
    with_key = Presented(number=5, installation=THEIRS, key_thumbprint="key")
    told = exchange(bound, with_key, NOW, IDLE)
    assert (told.outcome, told.line.number) == ("served", 5)
    for wrong in (
        Presented(number=5, installation=OURS),
        Presented(number=5, installation=OURS, key_thumbprint="another"),
        Presented(number=4, installation=OURS, key_thumbprint="key"),
    ):
        assert exchange(bound, wrong, NOW, IDLE) == Exchange(outcome="refused", line=bound)


@settings(deadline=None)
@given_any(st.lists(st.tuples(st.integers(1, 8), st.booleans(), st.integers(0, 90)), max_size=20))
def test_only_the_current_token_or_the_one_before_it_is_ever_served(
    presents: list[tuple[int, bool, int]],
) -> None:
    """Seen to fail when the one before is served whatever the installation."""
    line, now = LINE, NOW
    for number, ours, later in presents:
        now += timedelta(seconds=later)
        presented = Presented(number=number, installation=OURS if ours else THEIRS)
        told = exchange(line, presented, now, IDLE)
        if told.outcome == "served":
            assert ours
            assert line.ended_at is None
            assert number in (line.number, line.number - 1)
            assert told.line.number == max(line.number, number + 1)
        elif line.ended_at is None and told.outcome == "reused":
            assert told.line.ended_at == now
        line = told.line


def test_a_session_starts_and_ends_once() -> None:
    started, ended = user_session_started(), user_session_ended(reason="signed_out")
    given(rebuild).when(start, started).then(started)
    given(rebuild, started).when(start, started).then_nothing()
    given(rebuild, started).when(end, "signed_out").then(ended)
    given(rebuild, started, ended).when(end, "revoked_by_user").then_nothing()
    given(rebuild).when(end, "signed_out").then_nothing()


def test_reuse_is_told_with_both_presenters_and_ends_the_session() -> None:
    started, detected = user_session_started(), user_session_reuse_detected()
    given(rebuild, started).when(detect_reuse, detected).then(detected, user_session_ended())
    both = (started, detected, user_session_ended())
    given(rebuild, *both).when(detect_reuse, detected).then_nothing()


def test_a_proof_stands_for_the_person_for_a_while() -> None:
    check_fresh(NOW, NOW + FRESH_FOR)
    with pytest.raises(Unauthenticated, match="insufficient_user_authentication"):
        check_fresh(NOW, NOW + FRESH_FOR + timedelta(microseconds=1))


def test_what_was_proved_together_is_told_together_and_what_is_long_ago_is_not() -> None:
    soon, late = NOW + timedelta(minutes=4), NOW + timedelta(minutes=6)
    assert prove_again(LINE, "password", soon).line.amr == ("otp_sms", "password")
    again = prove_again(prove_again(LINE, "password", soon).line, "otp_sms", soon).line
    assert (again.amr, again.authenticated_at) == (("password", "otp_sms"), soon)
    assert prove_again(LINE, "password", late).line.amr == ("password",)
    over = prove_again(LINE, "password", NOW + IDLE)
    assert (over.outcome, over.line) == ("refused", LINE)


def test_two_ways_in_of_one_kind_are_one_kind() -> None:
    assert acr(["otp_sms", "otp_email"]) == acr(["google"]) == ACR_ONE_KIND
    assert acr(["otp_sms", "password"]) == acr(["apple", "otp_email"]) == ACR_TWO_KINDS


def test_a_session_that_is_open_is_proved_again_and_one_that_ended_is_not() -> None:
    started, ended = user_session_started(), user_session_ended()
    proved = user_session_reauthenticated()
    given(rebuild, started).when(reauthenticate, "password").then(proved)
    given(rebuild, started, proved).when(reauthenticate, "password").then(proved)
    given(rebuild, started, ended).when(reauthenticate, "password").then_refused(
        Unauthenticated, "token_invalid"
    )
    given(rebuild).when(reauthenticate, "password").then_refused(Unauthenticated, "token_invalid")
