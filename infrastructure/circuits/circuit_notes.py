"""Has the changes of circuits noted beside the calls that brought them about, in their order."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Self

import structlog

from application.ports import CommitFailed, StaleStream
from application.ports.circuits import CircuitChange
from domain.errors import Unavailable
from infrastructure.endings import end

WAITING_MAX: Final = 1000
"""Changes that wait for a log that is away; beyond it the oldest are forgotten."""
AGAIN_S: Final = 1.0

_PASSES: Final = (CommitFailed, StaleStream, Unavailable)
"""The log is away or busy for a while."""

_log: Final = structlog.stdlib.get_logger(__name__)


class CircuitNotes:
    """`async with CircuitNotes(...)`: `tell` takes note at once, `note` is awaited later."""

    def __init__(
        self, note: Callable[[CircuitChange], Awaitable[None]], *, again_s: float = AGAIN_S
    ) -> None:
        self._note = note
        self._again_s = again_s
        self._waiting: deque[CircuitChange] = deque(maxlen=WAITING_MAX)
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def tell(self, change: CircuitChange) -> None:
        """A circuit changed. Never waits, and never raises."""
        _log.warning(
            "circuit_changed",
            service=str(change.service_id),
            before=change.before,
            after=change.after,
        )
        self._waiting.append(change)
        self._news.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="circuit notes")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop; what was not noted yet is noted when it happens again."""
        if self._task is not None:
            await end([self._task])

    async def _run(self) -> None:
        while True:
            while self._waiting:
                change = self._waiting[0]
                try:
                    await self._note(change)
                except _PASSES as error:
                    _log.warning("circuit_not_noted", error=type(error).__name__)
                    await asyncio.sleep(self._again_s)
                    continue
                except Exception as error:
                    # A bug of one change is not the others' trouble.
                    _log.error("circuit_not_noted", exc_info=error)
                if self._waiting and self._waiting[0] is change:
                    self._waiting.popleft()
            self._news.clear()
            if not self._waiting:
                await self._news.wait()
