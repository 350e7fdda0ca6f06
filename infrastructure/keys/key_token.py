"""`KeyEncryption` in a token that speaks PKCS#11 (OASIS, version 2.40 and later).

A key never leaves it: a key-encryption key is an AES key of 256 bits, sensitive and not
extractable, and the token itself wraps with it: AES-GCM with a nonce of ours, the place as
associated data, 16 bytes of tag. The library is python-pkcs11, an optional dependency, and is
loaded when a token is configured.

Calls wait for the token and are not asynchronous: a token in the machine answers in microseconds,
one behind a network in milliseconds, and each value of a person that is read asks it once.
"""

import contextlib
import importlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from infrastructure.keys.keyring import KEY_BYTES, NONCE_BYTES, KeyringUnusable

LABEL: Final = "link-identity/kek/"
"""Before a key's number: the highest one wraps."""
ID_BYTES: Final = 8
TAG_BITS: Final = 128

T = TypeVar("T")


class TokenSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the token is: the vendor's library, the token's label, and a file with the user PIN."""

    module: Path
    token: str
    pin_file: Path


class TokenKeys:
    """Raises KeyringUnusable, naming the token, when it cannot be reached or refuses.

    One session, shared by the threads of a process; one that the token has ended is opened anew,
    once for each call.
    """

    def __init__(self, settings: TokenSettings) -> None:
        self._settings = settings
        self._p11 = _library()
        self._lock = threading.RLock()
        self._session: Any = None
        self._keys: dict[str, Any] = {}
        self.refresh()

    def ids(self) -> Sequence[str]:
        return tuple(self._keys)

    def wrap(self, key_id: str, key: bytes, belongs_to: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._crypt("encrypt", key_id, key, nonce, belongs_to)

    def unwrap(self, key_id: str, wrapped: bytes, belongs_to: str) -> bytes:
        nonce, sealed = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
        key = self._crypt("decrypt", key_id, sealed, nonce, belongs_to)
        if len(key) != KEY_BYTES:
            raise KeyringUnusable(f"what is sealed for {belongs_to} does not open")
        return key

    def refresh(self) -> None:
        def read() -> None:
            self._keys = self._held()

        self._asked(read)

    def add(self) -> str:
        def make() -> str:
            number = 1 + max((_number(key) for key in self._held().values()), default=0)
            key_id = os.urandom(ID_BYTES)
            attribute = self._p11.Attribute
            self._session.generate_key(
                self._p11.KeyType.AES,
                8 * KEY_BYTES,
                id=key_id,
                label=f"{LABEL}{number:06d}",
                store=True,
                capabilities=self._p11.MechanismFlag.ENCRYPT | self._p11.MechanismFlag.DECRYPT,
                template={
                    attribute.SENSITIVE: True,
                    attribute.EXTRACTABLE: False,
                    attribute.PRIVATE: True,
                },
            )
            self._keys = self._held()
            return key_id.hex()

        return self._asked(make)

    def destroy(self, key_id: str) -> None:
        def forget() -> None:
            held = self._held()
            if key_id in held:
                held[key_id].destroy()
            self._keys = self._held()

        self._asked(forget)

    def close(self) -> None:
        with self._lock:
            session, self._session = self._session, None
            if session is not None:
                # One that has ended cannot be closed, and need not be.
                with contextlib.suppress(self._p11.PKCS11Error):
                    session.close()

    def _crypt(self, how: str, key_id: str, data: bytes, nonce: bytes, belongs_to: str) -> bytes:
        def run() -> bytes:
            key = self._keys.get(key_id)
            if key is None:
                raise KeyringUnusable(
                    f"the token {self._settings.token} does not hold the key-encryption key"
                    f" {key_id}"
                )
            done: bytes = getattr(key, how)(
                data,
                mechanism=self._p11.Mechanism.AES_GCM,
                mechanism_param=self._p11.GCMParams(nonce, belongs_to.encode(), TAG_BITS),
            )
            return done

        return self._asked(run)

    def _asked(self, ask: Callable[[], T]) -> T:
        """Ask the token over its session; over a fresh one when the old one has ended."""
        with self._lock:
            for last in (False, True):
                try:
                    if self._session is None:
                        self._session = self._open()
                        self._keys = self._held()
                    return ask()
                except self._p11.PKCS11Error as error:
                    self.close()  # its session may have ended
                    if last:
                        told = f"{type(error).__name__} {error}".strip()
                        raise KeyringUnusable(
                            f"the token {self._settings.token} refuses: {told}"
                        ) from error
        raise AssertionError("the second time either answers or raises")

    def _open(self) -> Any:
        try:
            pin = self._settings.pin_file.read_text().strip()
            library = self._p11.lib(str(self._settings.module))
        except (OSError, RuntimeError) as error:
            raise KeyringUnusable(f"the token {self._settings.token}: {error}") from error
        token = library.get_token(token_label=self._settings.token)
        try:
            return token.open(rw=True, user_pin=pin)
        except self._p11.UserAlreadyLoggedIn:  # a login is the whole process's
            return token.open(rw=True)

    def _held(self) -> dict[str, Any]:
        """Our keys by their ids, the newest first."""
        attribute = self._p11.Attribute
        found = self._session.get_objects({attribute.CLASS: self._p11.ObjectClass.SECRET_KEY})
        ours = [key for key in found if key.label.startswith(LABEL)]
        return {key.id.hex(): key for key in sorted(ours, key=_number, reverse=True)}


class _Library:
    """What is used of python-pkcs11, which has no types that a checker could follow."""

    def __init__(self, package: Any, exceptions: Any, mechanisms: Any) -> None:
        self.lib: Any = package.lib
        self.Attribute: Any = package.Attribute
        self.KeyType: Any = package.KeyType
        self.Mechanism: Any = package.Mechanism
        self.MechanismFlag: Any = package.MechanismFlag
        self.ObjectClass: Any = package.ObjectClass
        self.GCMParams: Any = mechanisms.GCMParams
        self.PKCS11Error: type[Exception] = exceptions.PKCS11Error
        self.UserAlreadyLoggedIn: type[Exception] = exceptions.UserAlreadyLoggedIn


def _library() -> _Library:
    try:
        names = ("pkcs11", "pkcs11.exceptions", "pkcs11.mechanisms")
        return _Library(*(importlib.import_module(name) for name in names))
    except ImportError as error:
        raise KeyringUnusable(
            "a token is configured and python-pkcs11 is not installed: install the lock file"
            " requirements-pkcs11.lock"
        ) from error


def _number(key: Any) -> int:
    return int(str(key.label).removeprefix(LABEL))
