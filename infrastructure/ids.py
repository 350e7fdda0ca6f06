"""Fresh ids in time order, and codes that nobody can guess."""

import struct
import threading
from datetime import UTC, datetime, timedelta
from random import Random, SystemRandom
from typing import Final
from uuid import UUID, SafeUUID

from application.ports import Clock

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_VERSION: Final = 7 << 76
_VARIANT: Final = 0b10 << 62
_TAIL: Final = (1 << 62) - 1
_TAILS: Final = struct.Struct("<64Q")
"""So many tails are drawn at once: asking the system costs more than all else about an id."""

_UNKNOWN: Final = SafeUUID.unknown
_set_attribute: Final = object.__setattr__


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
        ticks = (self._clock.now() - _EPOCH) // _MICROSECOND * 4096 // 1000
        with self._lock:
            if ticks <= self._latest:
                ticks = self._latest + 1
            self._latest = ticks
            if not self._tails:
                self._tails = self._draw()
            tail = self._tails.pop() & _TAIL
        # What UUID(int=...) gives, without its checks of seven ways to be called, which take as
        # long as all the rest; Python's own uuid7 (3.14) makes its ids like this. A commit makes
        # three or four.
        made = UUID.__new__(UUID)
        bits = (ticks >> 12) << 80 | _VERSION | (ticks & 0xFFF) << 64 | _VARIANT | tail
        _set_attribute(made, "int", bits)
        _set_attribute(made, "is_safe", _UNKNOWN)
        return made

    def _draw(self) -> list[int]:
        return list(_TAILS.unpack(self._random.randbytes(_TAILS.size)))

    def code(self, alphabet: str, length: int) -> str:
        """`length` symbols drawn evenly from `alphabet` by a cryptographic source."""
        return "".join(self._random.choice(alphabet) for _ in range(length))
