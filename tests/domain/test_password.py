"""A password is what was typed, on whichever keyboard, and every character of it counts."""

import unicodedata

import pytest

from domain.errors import Invalid
from domain.password import LENGTH_MAX, check_new, prepared

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
    assert check_new(emoji, least=8) == emoji
    with pytest.raises(Invalid, match="password_too_short"):
        check_new(unicodedata.normalize("NFD", "\N{LATIN SMALL LETTER E WITH ACUTE}" * 4), least=8)
