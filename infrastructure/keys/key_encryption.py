"""The port of the key-encryption key: what wraps tenants' keys and never leaves its keeper.

A keeper holds one key, or two while a rotation is on. It is asked by the key's id, which says
nothing of the key; what it wraps opens in its own place only (`belongs_to`).
"""

from collections.abc import Sequence
from typing import Protocol


class KeyEncryption(Protocol):
    """Every method may raise KeyringUnusable: the keeper cannot be reached or understood."""

    def ids(self) -> Sequence[str]:
        """The keys it holds as last seen, the one that is to wrap new keys first."""
        ...

    def wrap(self, key_id: str, key: bytes, belongs_to: str) -> bytes: ...

    def unwrap(self, key_id: str, wrapped: bytes, belongs_to: str) -> bytes:
        """Raises KeyringUnusable for a key it does not hold, another place, or altered bytes."""
        ...

    def refresh(self) -> None:
        """Look again which keys there are: another process may have rotated them."""
        ...

    def add(self) -> str:
        """Make a key that wraps from now on, durably, and say its id; the others still open."""
        ...

    def destroy(self, key_id: str) -> None:
        """Forget a key for good. What it wrapped never opens again."""
        ...
