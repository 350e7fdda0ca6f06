"""Nine symbols that pair one device, once, within five minutes."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from domain.errors import NotFound
from domain.events import DomainEvent
from domain.folding import UnexpectedEvent
from domain.pairing_code import (
    ALPHABET,
    LENGTH,
    LIFETIME_S,
    PairingCode,
    draw,
    normalise,
    rebuild,
    redeem,
    shown,
)
from tests.builders import DEVICE, NOW, claim_taken, pairing_code_issued, pairing_code_redeemed
from tests.spec import STREAM, TENANT, given, recorded

MINE = "c5" * 32
THEIRS = "c6" * 32
EXPIRES = NOW + timedelta(seconds=LIFETIME_S)
LAST_MOMENT = EXPIRES - timedelta(microseconds=1)
ISSUED = pairing_code_issued()
REDEEMED = pairing_code_redeemed(csr_sha256=MINE)


def code_after(*events: DomainEvent) -> PairingCode:
    code = rebuild(recorded(*events))
    assert code is not None
    return code


@examples(st.text(ALPHABET, min_size=LENGTH, max_size=LENGTH))
def test_a_code_is_read_as_it_is_shown(code: str) -> None:
    assert normalise(shown(code)) == code
    assert normalise(f" {shown(code).lower()} ") == code


def test_a_code_is_shown_in_three_groups_of_three() -> None:
    assert shown("K7Q2ZM9XP") == "K7Q-2ZM-9XP"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "K7Q-2ZM-9X",
        "K7Q-2ZM-9XPA",
        "K7Q_2ZM_9XP",
        "K7Q\t2ZM\t9XP",
        "K7Q\u20112ZM\u20119XP",
        "K7Q-2ZM-9X\u0660",
        "\uff2b7Q-2ZM-9XP",
        "K7Q-2ZM-9\u00df",
        "K7Q-2ZM-9X\u0131",
        "K7Q-2ZM-9X\x00",
        "K7Q-2ZM-9X'",
    ],
)
def test_nothing_else_is_read_as_a_code(text: str) -> None:
    assert normalise(text) is None


@examples(st.text(max_size=20))
def test_what_is_read_as_a_code_has_the_form_of_one(text: str) -> None:
    code = normalise(text)
    assert code is None or (len(code) == LENGTH and set(code) <= set(ALPHABET))


@examples(st.binary(min_size=32, max_size=32))
def test_a_drawn_code_is_a_code(entropy: bytes) -> None:
    assert normalise(draw(entropy)) == draw(entropy)


def test_drawing_reads_the_entropy_and_reaches_both_ends_of_the_alphabet() -> None:
    assert draw(bytes(32)) == "AAAAAAAAA"
    assert draw((36**9 - 1).to_bytes(32, "big")) == "999999999"
    assert draw((1).to_bytes(32, "big")) == "BAAAAAAAA"


@pytest.mark.parametrize("now", [NOW, LAST_MOMENT])
def test_a_fresh_code_is_redeemed_once(now: datetime) -> None:
    given(rebuild, ISSUED).when(redeem, MINE, now).then_returns(("redeem", code_after(ISSUED)))


@pytest.mark.parametrize("now", [NOW, LAST_MOMENT])
def test_the_same_key_asks_again_because_the_answer_was_lost(now: datetime) -> None:
    given(rebuild, ISSUED, REDEEMED).when(redeem, MINE, now).then_returns(
        ("repeat", code_after(ISSUED, REDEEMED))
    )


@pytest.mark.parametrize(
    ("past", "csr_sha256", "now"),
    [
        ((), MINE, NOW),
        ((ISSUED,), MINE, EXPIRES),
        ((ISSUED, REDEEMED), MINE, EXPIRES),
        ((ISSUED, REDEEMED), THEIRS, NOW),
        ((ISSUED, REDEEMED), THEIRS, EXPIRES),
    ],
    ids=["unknown", "expired", "expired after use", "used by another key", "used and expired"],
)
def test_a_code_that_does_not_work_does_not_say_why(
    past: tuple[DomainEvent, ...], csr_sha256: str, now: datetime
) -> None:
    given(rebuild, *past).when(redeem, csr_sha256, now).then_refused(
        NotFound, "pairing_code_invalid"
    )


def test_a_code_remembers_for_whom_it_is_and_who_used_it() -> None:
    code = code_after(ISSUED, REDEEMED)
    assert (code.id, code.version, code.tenant_id) == (STREAM, 2, TENANT)
    assert (code.device_id, code.code_number, code.expires_at) == (DEVICE, 1, EXPIRES)
    assert code.redeemed_by == MINE


@pytest.mark.parametrize("stray", [REDEEMED, claim_taken()])
def test_a_stream_that_does_not_begin_with_a_code_is_no_code(stray: DomainEvent) -> None:
    with pytest.raises(UnexpectedEvent):
        rebuild(recorded(stray))
