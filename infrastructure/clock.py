"""The time as this machine has it."""

import time
from datetime import UTC, datetime


class SystemClock:
    """The `Clock` port over the operating system's clocks."""

    def now(self) -> datetime:
        """The present, in UTC and aware."""
        return datetime.now(UTC)

    monotonic = staticmethod(time.monotonic)
    """Seconds on a clock that never goes back; only differences mean anything. The function itself:
    a transaction asks a dozen times."""
