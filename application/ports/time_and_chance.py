"""What a decision may not find out by itself: the time, and what nobody can guess."""

from datetime import datetime
from typing import Protocol
from uuid import UUID


class Clock(Protocol):
    def now(self) -> datetime:
        """The present, in UTC and aware."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""
        ...


class IdSource(Protocol):
    def uuid(self) -> UUID:
        """A fresh UUIDv7 (RFC 9562), so that new rows land next to each other."""
        ...

    def code(self, alphabet: str, length: int) -> str:
        """`length` symbols drawn evenly from `alphabet` by a cryptographic source."""
        ...
