"""Fresh ids in time order, and codes that nobody can guess."""

import threading
from datetime import UTC, datetime, timedelta
from random import Random, SystemRandom
from typing import Final
from uuid import UUID

from application.ports import Clock

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_VERSION: Final = 7 << 76
_VARIANT: Final = 0b10 << 62
_TAIL_BITS: Final = 62
_TAILS: Final = 64
"""So many tails are drawn at once: asking the system costs more than all else about an id."""


class RandomIds:
    """The `IdSource` port: UUIDv7 (RFC 9562 §5.7) and evenly drawn codes.

    The 12 bits below the millisecond carry its fraction (RFC 9562 §6.2, method 3) and go up by
    one where the clock stands still or goes back, so the ids of one process always ascend.
    """

    def __init__(self, clock: Clock, random: Random | None = None) -> None:
        self._clock = clock
        self._random = random or SystemRandom()
        self._latest = 0
        self._tails: list[int] = []
        self._lock = threading.Lock()

    def uuid(self) -> UUID:
        """A fresh UUIDv7, greater than every one this source gave before."""
        microseconds = (self._clock.now() - _EPOCH) // _MICROSECOND
        with self._lock:
            self._latest = ticks = max(microseconds * 4096 // 1000, self._latest + 1)
            if not self._tails:
                self._tails = self._draw()
            tail = self._tails.pop()
        milliseconds, fraction = divmod(ticks, 4096)
        return UUID(int=milliseconds << 80 | _VERSION | fraction << 64 | _VARIANT | tail)

    def _draw(self) -> list[int]:
        drawn = self._random.getrandbits(_TAILS * _TAIL_BITS)
        mask = (1 << _TAIL_BITS) - 1
        return [drawn >> number * _TAIL_BITS & mask for number in range(_TAILS)]

    def code(self, alphabet: str, length: int) -> str:
        """`length` symbols drawn evenly from `alphabet` by a cryptographic source."""
        return "".join(self._random.choice(alphabet) for _ in range(length))
