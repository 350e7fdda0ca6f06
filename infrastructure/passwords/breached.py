"""Several sources of passwords that nobody may have, as one."""

from collections.abc import Sequence

from application.ports.passwords import BreachedPasswords


class AnyOf:
    """`BreachedPasswords`: known to one is known. They are asked in their order, the nearest first,
    so that what a list at hand knows is told to nobody."""

    def __init__(self, sources: Sequence[BreachedPasswords]) -> None:
        self._sources = sources

    async def has(self, password: str) -> bool:
        for source in self._sources:
            if await source.has(password):
                return True
        return False
