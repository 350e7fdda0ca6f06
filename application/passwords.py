"""Passwords of whoever has one: which are taken, and whether one is right.

Where a hash is kept, who may be asked for it and how often somebody may try is for the use case to
say: people of a tenant and console people keep theirs apart (003 §3.2).
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from application.ports.passwords import BreachedPasswords, PasswordHashes
from domain import password as p
from domain.errors import Invalid, Unavailable


class Proved(msgspec.Struct, frozen=True, kw_only=True):
    """`renewed`: the hash to keep from now on, where the one that was kept is out of date."""

    right: bool
    renewed: str | None = None


NOT_RIGHT: Final = Proved(right=False)


class Passwords:
    def __init__(self, hashes: PasswordHashes, breached: BreachedPasswords) -> None:
        self._hashes = hashes
        self._breached = breached

    async def check(self, text: str, policy: p.PasswordPolicy) -> str:
        """What somebody wants for a password, prepared, if it will do; nothing is hashed yet.

        Raises Invalid (`password_invalid`, `password_too_short`, `password_too_long`,
        `password_breached`).
        """
        wanted = p.check_new(text, policy)
        if policy.breach_check and await self._breached.has(wanted):
            raise Invalid("password_breached", "this one is among the first that are tried")
        return wanted

    async def taken(self, wanted: str, before: Sequence[str]) -> str:
        """The hash to keep for what `check` has let pass, where it is none of those that `before`
        are of; each of them costs a comparison.

        Raises Invalid (`password_reused`), Unavailable (`sign_in_busy`).
        """
        for hashed in before:
            if await self._hashes.matches(wanted, hashed):
                raise Invalid("password_reused", "you had this one before")
        return await self._hashes.of(wanted)

    async def hashed(self, text: str, policy: p.PasswordPolicy, before: Sequence[str] = ()) -> str:
        """The hash to keep for a new password. Raises what `check` and `taken` raise."""
        return await self.taken(await self.check(text, policy), before)

    async def prove(self, text: str, hashed: str | None) -> Proved:
        """Whether it is the password that `hashed` is of.

        Without a hash, and for what can be nobody's password, as much work is done. Raises
        Unavailable (`sign_in_busy`).
        """
        try:
            password = p.prepared(text)
        except Invalid:
            await self._hashes.matches("", None)
            return NOT_RIGHT
        if not await self._hashes.matches(password, hashed) or hashed is None:
            return NOT_RIGHT
        return Proved(right=True, renewed=await self._renewed(password, hashed))

    async def _renewed(self, password: str, hashed: str) -> str | None:
        if not self._hashes.outdated(hashed):
            return None
        try:
            return await self._hashes.of(password)
        except Unavailable:
            # It can wait for another sign-in; this one was right.
            return None
