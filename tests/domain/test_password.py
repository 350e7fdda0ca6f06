"""A password is what was typed, on whichever keyboard, and every character of it counts."""

import unicodedata
from datetime import timedelta

import pytest

from domain.errors import Forbidden, Invalid
from domain.password import LENGTH_MAX, PasswordPolicy, check_new, prepared
from tests.builders import NOW

EIGHT = PasswordPolicy(length_min=8, length_max=64)
COMPOSED = "caf\N{LATIN SMALL LETTER E WITH ACUTE}"


def test_composed_and_decomposed_are_the_same() -> None:
    spread = unicodedata.normalize("NFD", COMPOSED)
    assert spread != COMPOSED
    assert prepared(spread) == prepared(COMPOSED) == COMPOSED


def test_every_space_is_the_same_space_and_case_is_not() -> None:
    assert prepared("two\N{NO-BREAK SPACE}words") == prepared("two words") == "two words"
    assert prepared("Word") != prepared("word")


@pytest.mark.parametrize(
    "text",
    ["\N{GRINNING FACE}" * 64, "x" * LENGTH_MAX, "\N{ARABIC LETTER SEEN}" * 80, "a b", " "],
)
def test_long_and_foreign_ones_are_kept_whole(text: str) -> None:
    assert prepared(text) == text


@pytest.mark.parametrize(
    "text", ["", "x" * (LENGTH_MAX + 1), "nul\0", "line\nbreak", "\ud800", "\u0378", "\u2028"]
)
def test_what_can_be_no_password_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        prepared(text)
    assert refused.value.code == "password_invalid"


def test_the_least_length_counts_characters_and_not_bytes() -> None:
    emoji = "\N{GRINNING FACE}" * 8
    assert check_new(emoji, EIGHT) == emoji
    with pytest.raises(Invalid, match="password_too_short"):
        check_new(unicodedata.normalize("NFD", "\N{LATIN SMALL LETTER E WITH ACUTE}" * 4), EIGHT)


def test_the_most_length_is_the_policys() -> None:
    assert check_new("x" * 64, EIGHT) == "x" * 64
    with pytest.raises(Invalid, match="password_too_long"):
        check_new("x" * 65, EIGHT)


def test_a_password_runs_out_only_where_it_has_an_age() -> None:
    ages = PasswordPolicy(length_min=8, age_max_days=90)
    assert not ages.expired(NOW, NOW + timedelta(days=90) - timedelta(seconds=1))
    assert ages.expired(NOW, NOW + timedelta(days=90))
    assert not EIGHT.expired(NOW, NOW + timedelta(days=36_500))
    with pytest.raises(Forbidden, match="password_expired"):
        ages.check_age(NOW, NOW + timedelta(days=90))


@pytest.mark.parametrize(("history", "remember"), [(0, 0), (1, 0), (10, 9)])
def test_the_present_password_is_one_of_the_history(history: int, remember: int) -> None:
    assert PasswordPolicy(length_min=8, history=history).remember == remember
