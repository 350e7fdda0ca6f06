"""bcrypt over base64(SHA-384(password)), so that no byte is cut off (design §2 row 12).

A hash takes a quarter of a second of one core, so it runs in threads of its own, no more than
there are cores and behind everything else that wants one; and only so many may wait for them. A
storm of sign-ins is told to come back, and tokens and transactions do not feel it.
"""

import asyncio
import base64
import hashlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import bcrypt

from domain.errors import Unavailable

T = TypeVar("T")

COST: Final = 12
WAITING_PER_THREAD: Final = 8
"""About two seconds of waiting; whoever is beyond that is told to come back."""
_SCHEME: Final = "bcrypt-sha384"
_NICENESS: Final = 5
"""A third of a share beside others that want the core; with less, nobody signs in under load."""
_DIGEST_LENGTH: Final = 31
"""Characters of a bcrypt hash that follow on its cost and salt."""


class BcryptHashes:
    """`PasswordHashes`. Close with `close`."""

    def __init__(self, *, cost: int = COST, threads: int | None = None) -> None:
        self._threads = threads or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(
            self._threads, thread_name_prefix="bcrypt", initializer=_behind_everything_else
        )
        self._room = self._threads * (1 + WAITING_PER_THREAD)
        self._cost = cost
        # As much work as any other, and of no password that anybody could find.
        self._nobodys = f"{_SCHEME}${bcrypt.gensalt(cost).decode()}{'.' * _DIGEST_LENGTH}"

    async def of(self, password: str) -> str:
        return await self._run(lambda: _hashed(password, self._cost))

    async def matches(self, password: str, hashed: str | None) -> bool:
        found = await self._run(lambda: _matches(password, hashed or self._nobodys))
        return found and hashed is not None

    def outdated(self, hashed: str) -> bool:
        return not hashed.startswith(f"{_SCHEME}$$2b${self._cost:02}$")

    async def close(self) -> None:
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._room <= 0:
            raise Unavailable("sign_in_busy", "many are signing in just now", retry_after_s=2)
        self._room -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._room += 1


def _behind_everything_else() -> None:
    """Linux alone lets one thread of a process wait for the others; elsewhere they share."""
    if sys.platform == "linux":
        this = threading.get_native_id()
        others = os.getpriority(os.PRIO_PROCESS, this)
        os.setpriority(os.PRIO_PROCESS, this, min(19, others + _NICENESS))


def _hashed(password: str, cost: int) -> str:
    return f"{_SCHEME}${bcrypt.hashpw(_digest(password), bcrypt.gensalt(cost)).decode()}"


def _matches(password: str, hashed: str) -> bool:
    scheme, _, rest = hashed.partition("$")
    assert scheme == _SCHEME, "nobody has a hash of another scheme"
    return bcrypt.checkpw(_digest(password), rest.encode())


def _digest(password: str) -> bytes:
    """64 bytes without a NUL: bcrypt reads 72, and stops at a NUL."""
    return base64.b64encode(hashlib.sha384(password.encode()).digest())
