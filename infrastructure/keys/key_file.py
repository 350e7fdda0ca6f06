"""`KeyEncryption` in a file: each line 32 random bytes in base64, the first one wraps.

There is one line, or two while a rotation is on. The file is replaced whole and never written
in place; mode 0600. A key's id is derived from it by HKDF, and so is what wraps.
"""

import base64
import binascii
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from infrastructure.keys.keyring import KEY_BYTES, KeyringUnusable, open_under, seal_under

ID_BYTES = 8


class KeyFile:
    """Raises KeyringUnusable, naming the file, when it cannot be read, made or understood."""

    def __init__(self, path: Path, *, make: bool = True, absent: bool = False) -> None:
        """Read the file. When there is none and `make`, make it: all processes agree on one key.

        `absent`: there may be none, beside another keeper; then it holds no key until one is added,
        and the file goes with its last key.
        """
        self._path = path
        self._absent = absent
        if not absent and not path.exists():
            if not make:
                raise KeyringUnusable(
                    f"{path} is not there: give the key file that belongs to this database,"
                    " or make one for a new database with `link-identity keys make`"
                )
            try:
                _link(path, [os.urandom(KEY_BYTES)])
            except OSError as error:
                raise KeyringUnusable(f"{path} is not a key file: {error}") from error
        self._keys: dict[str, bytes] = {}
        self.refresh()

    def ids(self) -> Sequence[str]:
        return tuple(self._keys)

    def wrap(self, key_id: str, key: bytes, belongs_to: str) -> bytes:
        return seal_under(_derived(self._held(key_id), "wrap", KEY_BYTES), key, belongs_to)

    def unwrap(self, key_id: str, wrapped: bytes, belongs_to: str) -> bytes:
        return open_under(_derived(self._held(key_id), "wrap", KEY_BYTES), wrapped, belongs_to)

    def refresh(self) -> None:
        self._keys = {} if self._absent and not self._path.exists() else _read(self._path)

    def add(self) -> str:
        self.refresh()
        fresh = os.urandom(KEY_BYTES)
        self._replace([fresh, *self._keys.values()])
        return self.ids()[0]

    def destroy(self, key_id: str) -> None:
        self.refresh()
        self._replace([key for held, key in self._keys.items() if held != key_id])

    def first(self) -> bytes:
        """The key that wraps, as it is: for what was sealed before tenants had keys."""
        return next(iter(self._keys.values()))

    def _held(self, key_id: str) -> bytes:
        try:
            return self._keys[key_id]
        except KeyError:
            raise KeyringUnusable(
                f"{self._path} does not hold the key-encryption key {key_id}: start with the"
                " key file that belongs to this database"
            ) from None

    def _replace(self, keys: Sequence[bytes]) -> None:
        try:
            if keys or not self._absent:
                _replace(self._path, keys)
            else:
                self._path.unlink()
                _flush_directory(self._path.parent)
        except OSError as error:
            raise KeyringUnusable(f"{self._path} cannot be written: {error}") from error
        self.refresh()


def make_key_file(path: Path) -> bool:
    """Make a key file where there is none; False when one is there already."""
    if path.exists():
        return False
    KeyFile(path)
    return True


def _read(path: Path) -> dict[str, bytes]:
    try:
        lines = path.read_bytes().split()
        keys = [base64.b64decode(text, validate=True) for text in lines]
    except (binascii.Error, OSError) as error:
        raise KeyringUnusable(f"{path} is not a key file: {error}") from error
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise KeyringUnusable(f"{path} is not a key file: each line must hold {KEY_BYTES} bytes")
    return {_derived(key, "id", ID_BYTES).hex(): key for key in keys}


def _derived(key: bytes, purpose: str, size: int) -> bytes:
    info = f"key-encryption:{purpose}".encode()
    return HKDF(hashes.SHA256(), size, salt=None, info=info).derive(key)


def _link(path: Path, keys: Sequence[bytes]) -> None:
    """Write beside the path and link into place; whoever links first, wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    candidate = _write_beside(path, keys)
    try:
        os.link(candidate, path)
    except FileExistsError:
        return
    finally:
        candidate.unlink()
    _flush_directory(path.parent)


def _replace(path: Path, keys: Sequence[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    candidate = _write_beside(path, keys)
    try:
        candidate.replace(path)
    except OSError:
        candidate.unlink()
        raise
    _flush_directory(path.parent)


def _write_beside(path: Path, keys: Sequence[bytes]) -> Path:
    """The bytes are on disk before this returns: a key lost in a power cut would take with it
    all that was wrapped under it."""
    candidate = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(candidate, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(b"".join(base64.b64encode(key) + b"\n" for key in keys))
        file.flush()
        os.fsync(file.fileno())
    return candidate


def _flush_directory(path: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
