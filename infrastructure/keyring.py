"""The key-encryption key, and the keys that are derived from it for one purpose each.

The key lives in a file of 32 random bytes (base64 text, mode 0600), made on first use by
`Keyring.at`. Everything that is sealed says in its associated data where it belongs, so that a
ciphertext moved to another row does not open.
"""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
NONCE_BYTES = 12


class KeyringUnusable(Exception):
    """The key file is missing, malformed, or not the one that sealed what we hold."""


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
    """`Digests`, sealing, and derivation over one key-encryption key."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise KeyringUnusable(f"the key-encryption key must be {KEY_BYTES} bytes")
        self._key = key
        self._derived: dict[str, bytes] = {}

    @classmethod
    def at(cls, path: Path) -> "Keyring":
        """Read the key file, or make it when there is none: all processes agree on one key.

        Raises KeyringUnusable when the file cannot be read, made, or understood. A file that
        exists is never written to, so a key mounted read-only serves as well.
        """
        try:
            if not path.exists():
                _make_key_file(path)
            text = path.read_bytes()
            key = base64.b64decode(text.strip(), validate=True)
        except (binascii.Error, OSError) as error:
            raise KeyringUnusable(f"{path} is not a key file: {error}") from error
        if len(key) != KEY_BYTES:
            raise KeyringUnusable(f"{path} is not a key file: it must hold {KEY_BYTES} bytes")
        return cls(key)

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


def _make_key_file(path: Path) -> None:
    """Write a fresh key beside the path and link it into place; whoever links first, wins.

    The bytes and the directory entry are on disk before this returns: a key lost in a power
    cut would take with it all that was sealed under it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    candidate = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(candidate, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(os.urandom(KEY_BYTES)))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(candidate, path)
        except FileExistsError:
            return
        _flush_directory(path.parent)
    finally:
        candidate.unlink()


def _flush_directory(path: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
