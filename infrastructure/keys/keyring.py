"""The platform's key, and the keys that are derived from it for one purpose each.

The key is 32 random bytes, kept wrapped (`infrastructure/keys/tenant_keys.py`). Everything that is
sealed says in its associated data where it belongs, so that a ciphertext moved to another row
does not open.
"""

import base64
import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
NONCE_BYTES = 12


class KeyringUnusable(Exception):
    """The key file is missing, malformed, or not the one that wrapped what we hold."""


def seal_under(key: bytes, plaintext: bytes, belongs_to: str) -> bytes:
    """AES-256-GCM with a random nonce in front; `belongs_to` is the associated data."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, belongs_to.encode())


def open_under(key: bytes, sealed: bytes, belongs_to: str) -> bytes:
    """Raises KeyringUnusable for another key, another place, or altered bytes."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], belongs_to.encode())
    except (InvalidTag, ValueError) as error:
        raise KeyringUnusable(f"what is sealed for {belongs_to} does not open") from error


class Keyring:
    """`Digests`, sealing, and derivation over one key."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise KeyringUnusable(f"the platform's key must be {KEY_BYTES} bytes")
        self._key = key
        self._derived: dict[str, bytes] = {}

    def derive(self, purpose: str) -> bytes:
        """A 32-byte key that only serves `purpose` (HKDF-SHA-256, RFC 5869)."""
        found = self._derived.get(purpose)
        if found is None:
            hkdf = HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=purpose.encode())
            found = self._derived[purpose] = hkdf.derive(self._key)
        return found

    def seal(self, plaintext: bytes, belongs_to: str) -> bytes:
        """AES-256-GCM under the sealing key; nonce first."""
        return seal_under(self.derive("seal"), plaintext, belongs_to)

    def open(self, sealed: bytes, belongs_to: str) -> bytes:
        """Raises KeyringUnusable for another key, another place, or altered bytes."""
        return open_under(self.derive("seal"), sealed, belongs_to)

    def digest(self, purpose: str, value: str) -> str:
        """HMAC-SHA-256 under the key of `purpose`, base64url without padding."""
        mac = hmac.new(self.derive(f"digest:{purpose}"), value.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(mac.digest()).rstrip(b"=").decode()

    def matches(self, purpose: str, value: str, digest: str) -> bool:
        """Whether `digest` is of `value`, in constant time."""
        return hmac.compare_digest(self.digest(purpose, value).encode(), digest.encode())
