"""Makes a sentence that a product wrote fit to be shown on a terminal at a till or a gate."""

import unicodedata
from typing import Final

MARKS_PER_CHARACTER_MAX: Final = 8

_KEPT_FORMAT_CHARACTERS: Final = frozenset(
    "\u200c\u200d"  # zero width non-joiner and joiner: Arabic and Persian spelling, emoji
    "\u200e\u200f\u061c"  # left-to-right, right-to-left and Arabic letter marks
)
_DROPPED: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARKS: Final = frozenset({"Mn", "Me", "Mc"})


def clean(text: str, characters_max: int) -> str:
    """At most `characters_max` characters, a letter and its marks counting as one.

    Control characters, bidirectional embeddings, overrides and isolates, invisible format
    characters, lone surrogates and unassigned code points are dropped; line ends become a space.
    """
    if text.isascii() and text.isprintable():
        return text[:characters_max].strip()
    kept: list[str] = []
    characters = marks = 0
    joined = False
    for character in " ".join(text.splitlines()):
        category = unicodedata.category(character)
        if category in _DROPPED and character not in _KEPT_FORMAT_CHARACTERS:
            continue
        if category in _MARKS or character in _KEPT_FORMAT_CHARACTERS or joined:
            marks += 1
            joined = character == "\u200d" and characters > 0
            if marks > MARKS_PER_CHARACTER_MAX or characters == 0:
                continue
        else:
            characters += 1
            marks = 0
            if characters > characters_max:
                break
        kept.append(character)
    return "".join(kept).strip()
