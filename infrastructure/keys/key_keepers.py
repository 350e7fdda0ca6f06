"""Two keepers of key-encryption keys as one: the first wraps, both open.

That is what moves a database from a key file to a token, and back: the rotation makes its new key
with the first, wraps every tenant's key by it, and has the old one destroyed where it was.
"""

from collections.abc import Sequence

from infrastructure.keys.key_encryption import KeyEncryption
from infrastructure.keys.keyring import KeyringUnusable


class TwoKeepers:
    """`KeyEncryption`."""

    def __init__(self, first: KeyEncryption, second: KeyEncryption) -> None:
        self._first = first
        self._second = second

    def ids(self) -> Sequence[str]:
        return (*self._first.ids(), *self._second.ids())

    def wrap(self, key_id: str, key: bytes, belongs_to: str) -> bytes:
        return self._keeper_of(key_id).wrap(key_id, key, belongs_to)

    def unwrap(self, key_id: str, wrapped: bytes, belongs_to: str) -> bytes:
        return self._keeper_of(key_id).unwrap(key_id, wrapped, belongs_to)

    def refresh(self) -> None:
        self._first.refresh()
        self._second.refresh()

    def add(self) -> str:
        return self._first.add()

    def destroy(self, key_id: str) -> None:
        self._keeper_of(key_id).destroy(key_id)

    def _keeper_of(self, key_id: str) -> KeyEncryption:
        for keeper in (self._first, self._second):
            if key_id in keeper.ids():
                return keeper
        raise KeyringUnusable(
            f"neither the key file nor the token holds the key-encryption key {key_id}"
        )
