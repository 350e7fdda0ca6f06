"""Hashes that cost nothing and count what work was done."""

from domain.errors import Unavailable


class Hashes:
    """`compared` counts how often a password was looked at; `scheme` is how they are made now.

    While it is `busy`, it makes none.
    """

    def __init__(self) -> None:
        self.busy = False
        self.compared = 0
        self.scheme = "hash"

    async def of(self, password: str) -> str:
        if self.busy:
            raise Unavailable("sign_in_busy", retry_after_s=1)
        return f"{self.scheme} of {password}"

    async def matches(self, password: str, hashed: str | None) -> bool:
        self.compared += 1
        return hashed is not None and hashed.partition(" of ")[2] == password

    def outdated(self, hashed: str) -> bool:
        return not hashed.startswith(f"{self.scheme} of ")
