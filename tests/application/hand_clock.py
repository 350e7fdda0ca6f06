"""A clock that stands still until a test moves it."""

from datetime import datetime, timedelta

from tests.builders import NOW


class HandClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self._elapsed_s = 0.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self._elapsed_s)

    def monotonic(self) -> float:
        return 1000.0 + self._elapsed_s

    def advance(self, seconds: float) -> None:
        self._elapsed_s += seconds
