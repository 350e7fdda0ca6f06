"""Passwords: hashed slowly, in few places at once, and refused when everybody has them."""

from typing import Protocol


class PasswordHashes(Protocol):
    """Of passwords as `domain.password.prepared` makes them."""

    async def of(self, password: str) -> str:
        """A salted hash with its scheme. Raises Unavailable (`sign_in_busy`) when too many wait."""
        ...

    async def matches(self, password: str, hashed: str | None) -> bool:
        """Whether it is the password; takes as long when there is none to compare with.

        Raises Unavailable (`sign_in_busy`).
        """
        ...

    def outdated(self, hashed: str) -> bool:
        """Whether it was made in another way than it would be today."""
        ...


class BreachedPasswords(Protocol):
    async def has(self, password: str) -> bool:
        """Whether it is known to whoever guesses passwords."""
        ...
