"""What goes on in a task of its own for as long as it is entered."""

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from infrastructure.endings import end


class Background(ABC):
    """Runs while it is entered: `async with`. `name` is the task's."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def run(self) -> None:
        """Go on for ever; cancelled at the end. What it raises is a bug, or damage."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run(), name=self._name)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        if task is not None:
            await end([task])

    async def until_failure(self) -> None:
        """Return only by raising what ended it, for the process to die of."""
        if self._task is not None:
            await asyncio.shield(self._task)
