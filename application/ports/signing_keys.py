"""Which signing keys there are."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from domain.signing_key import KeptKey


class SigningKeyBook(Protocol):
    async def kept(self) -> Mapping[str, Sequence[KeptKey]]:
        """All keys of each family that there ever were, the oldest first.

        Raises psycopg.Error, PoolTimeout.
        """
        ...
