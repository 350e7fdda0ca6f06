"""Ed25519 (RFC 8032) for signed notes: the log's own key, and the check of anybody's."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

SEED_BYTES = 32


class NoteSigner:
    """One private key, loaded once. It signs under many names: each tenant's log has its own."""

    def __init__(self, seed: bytes) -> None:
        """`seed` is the private key's 32 bytes. Raises ValueError for any other length."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes_raw()

    @staticmethod
    def generate() -> bytes:
        """A seed: seal it (`Keyring.seal`) before it is written anywhere."""
        return Ed25519PrivateKey.generate().private_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the signature is of this key over this message. Never raises."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
