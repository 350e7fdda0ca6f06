"""What a password has to be, and the one form in which it is compared.

Passwords are Unicode as RFC 8265 (OpaqueString) prepares it: composed (NFC), every space the same
space. So what is typed on one keyboard is what was set on another. Nothing is cut off: however
long a password is, every byte of it counts.
"""

import unicodedata
from datetime import datetime, timedelta
from typing import Final

import msgspec

from domain.errors import Forbidden, Invalid

LENGTH_MAX: Final = 128
"""Code points; at least 64 must do (NIST SP 800-63B-4 §3.1.1.2)."""


class PasswordPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody's new password must be, and how long it counts.

    Lengths are in code points. `history` is how many passwords, the present one among them, may not
    be had again. `age_max_days` 0: it never runs out. `breach_check`: it must not be one that
    whoever guesses knows.
    """

    length_min: int
    length_max: int = LENGTH_MAX
    history: int = 0
    age_max_days: int = 0
    breach_check: bool = True

    @property
    def remember(self) -> int:
        """How many hashes are kept beside that of the present one."""
        return max(0, self.history - 1)

    def expired(self, set_at: datetime, now: datetime) -> bool:
        """Whether a password of that time counts no more."""
        return bool(self.age_max_days) and now >= set_at + timedelta(days=self.age_max_days)

    def check_age(self, set_at: datetime, now: datetime) -> None:
        """Raises Forbidden (`password_expired`)."""
        if self.expired(set_at, now):
            raise Forbidden("password_expired", "set another one, by a code to the e-mail address")


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


def check_new(text: str, policy: PasswordPolicy) -> str:
    """A password that somebody wants to have from now on, prepared.

    Raises Invalid (`password_invalid`, `password_too_short`, `password_too_long`). Code points are
    counted once composed: an emoji is one, and so is a letter with its accent.
    """
    password = prepared(text)
    if len(password) < policy.length_min:
        raise Invalid("password_too_short", f"at least {policy.length_min} characters")
    if len(password) > policy.length_max:
        raise Invalid("password_too_long", f"at most {policy.length_max} characters")
    return password
