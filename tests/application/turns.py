"""Two tasks take turns as a test says, so that a race comes out the same in every run.

Every port of the world awaits `turn()` where another task could get in between. `race` runs one
pair through every schedule of few switches: first i turns of one, then j of the other, then the
first to its end, then the second. Races that need more switches than that are rare.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, Protocol, TypeVar

T = TypeVar("T")
W = TypeVar("W", bound="Staged")

_SETTLING: Final = 60
"""Rounds of the event loop after which a task that can go on without a turn has done so."""

TURNS_MAX: Final = 200


class Turns:
    """Hands out turns to the tasks that `play` started; everybody else never waits."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Task[Any], asyncio.Future[None]] = {}
        self._playing: list[asyncio.Task[Any]] = []

    async def turn(self) -> None:
        """Wait until it is this task's turn."""
        task = asyncio.current_task()
        if task is None or task not in self._playing:
            return
        self._waiting[task] = asyncio.get_running_loop().create_future()
        await self._waiting[task]

    async def play(
        self,
        pair: Sequence[Coroutine[Any, Any, T]],
        i: int,
        j: int,
    ) -> tuple[T | BaseException, T | BaseException]:
        """What each of the two answered or raised."""
        tasks = [asyncio.ensure_future(each) for each in pair]
        self._playing = [*tasks]
        for number, turns in ((0, i), (1, j), (0, TURNS_MAX), (1, TURNS_MAX), (0, TURNS_MAX)):
            await self._give(self._playing[number], turns)
        # Whoever is still at it waits for nobody any more.
        self._playing.clear()
        for waiting in self._waiting.values():
            waiting.set_result(None)
        self._waiting.clear()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        return answers[0], answers[1]

    async def _give(self, task: "asyncio.Task[Any]", turns: int) -> None:
        for _ in range(turns):
            await self._settle()
            waiting = self._waiting.pop(task, None)
            if waiting is None:
                return
            waiting.set_result(None)
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(_SETTLING):
            if all(task.done() or task in self._waiting for task in self._playing):
                return
            await asyncio.sleep(0)


class Staged(Protocol):
    """A world whose ports hand out turns."""

    @property
    def turns(self) -> Turns: ...


async def race(
    scene: Callable[[], Awaitable[tuple[W, Sequence[Coroutine[Any, Any, T]]]]],
    check: Callable[[W, T | BaseException, T | BaseException], Awaitable[None]],
    *,
    steps: int,
) -> None:
    """Play the pair of a fresh `scene` under every schedule with i and j below `steps`."""
    for i in range(steps):
        for j in range(1, steps):
            world, pair = await scene()
            first, second = await world.turns.play(pair, i, j)
            try:
                await check(world, first, second)
            except AssertionError as error:
                error.add_note(f"after {i} turns of the first and {j} of the second")
                raise
