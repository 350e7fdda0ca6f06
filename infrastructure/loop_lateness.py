"""How late the event loop is with its work: what every request waits, whatever it asks for."""

import asyncio
from collections import deque
from typing import Final

STEP_S: Final = 0.1
STEPS: Final = 10


class LoopLateness:
    """Looks ten times a second; one timer for the whole process.

    A single stall, of the collector or of a busy machine, makes one look late. Only a loop that
    has more to do than it can makes all of them late.
    """

    def __init__(self, *, step_s: float = STEP_S) -> None:
        self._step_s = step_s
        self._late: deque[float] = deque([0.0] * STEPS, maxlen=STEPS)
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self.sustained_s = 0.0
        """By how much the loop was late at the best of the last ten looks."""

    @property
    def worst_s(self) -> float:
        """By how much it was late at the worst of them."""
        return max(self._late)

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + self._step_s
        self._timer = loop.call_at(self._due, self._look)

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def saw(self, late_s: float) -> None:
        """One look found the loop that late."""
        self._late.append(max(0.0, late_s))
        self.sustained_s = min(self._late)

    def _look(self) -> None:
        self.saw(asyncio.get_running_loop().time() - self._due)
        self.start()
