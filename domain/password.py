"""What a password has to be, and the one form in which it is compared.

Passwords are Unicode as RFC 8265 (OpaqueString) prepares it: composed (NFC), every space the same
space. So what is typed on one keyboard is what was set on another. Nothing is cut off: however
long a password is, every byte of it counts.
"""

import unicodedata
from typing import Final

from domain.errors import Invalid

LENGTH_MAX: Final = 128
"""Code points; at least 64 must do (NIST SP 800-63B-4 §3.1.1.2)."""


def prepared(text: str) -> str:
    """Raises Invalid (`password_invalid`) for what cannot be a password: nothing at all, control
    characters, surrogates, characters that Unicode does not have yet."""
    if not 1 <= len(text) <= LENGTH_MAX:
        raise Invalid("password_invalid", f"1 to {LENGTH_MAX} characters")
    spaced = "".join(" " if unicodedata.category(each) == "Zs" else each for each in text)
    composed = unicodedata.normalize("NFC", spaced)
    if any(unicodedata.category(each) in ("Cc", "Cs", "Cn", "Zl", "Zp") for each in composed):
        raise Invalid("password_invalid", "no control or unknown characters")
    return composed


def check_new(text: str, *, least: int) -> str:
    """A password that somebody wants to have from now on, prepared.

    Raises Invalid (`password_invalid`, `password_too_short`). `least` counts code points, once
    composed: an emoji is one, and so is a letter with its accent.
    """
    password = prepared(text)
    if len(password) < least:
        raise Invalid("password_too_short", f"at least {least} characters")
    return password
