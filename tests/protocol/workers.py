"""Workers that run only while somebody says so, stop wherever they wait, and die where they stop.

Each worker is a process of its own as far as the application can tell. It stops before whatever
another could get in between: a read of the transaction, a commit, its answer, a call. Who lets it
go on says how that ends, so a history is the same in every run.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any, Final, Generic, Literal, TypeVar

T = TypeVar("T")

How = Literal["goes_on", "fails", "fails_after"]
"""How the world treats whoever waits: as it should, with an error, or with an error that hides
that it did what was asked."""

_SETTLING: Final = 60
"""Rounds of the event loop after which a worker that waits for nobody has come to its next stop."""


class Killed(BaseException):
    """The process died here."""


class Stop(Generic[T]):
    """Where a worker waits for its world, and for what."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()


class Worker:
    """One process and what it is doing. `result` is what it had to say, `refused` why not."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.stops: list[Stop[How]] = []
        self.calls: list[Stop[Any]] = []
        self.result: Any = None
        self.refused: Exception | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return self.task is not None and not self.task.done()


_WORKER: ContextVar[Worker | None] = ContextVar("worker", default=None)


class Workers:
    """All processes of a history."""

    def __init__(self) -> None:
        self.all: list[Worker] = []
        self._busy = 0
        self._idle = asyncio.Event()

    @property
    def stopped(self) -> list[Worker]:
        """Those that wait to be let go on."""
        return [each for each in self.all if each.stops]

    @property
    def running(self) -> list[Worker]:
        return [each for each in self.all if each.running]

    async def start(self, name: str, does: Callable[[Worker], Coroutine[Any, Any, None]]) -> Worker:
        """A process that does this, up to its first stop."""
        worker = Worker(name)
        self.all.append(worker)

        async def run() -> None:
            _WORKER.set(worker)
            try:
                await does(worker)
            except Exception as error:
                worker.refused = error

        worker.task = asyncio.create_task(run())
        await self.settle()
        return worker

    async def go_on(self, worker: Worker, how: How = "goes_on") -> None:
        """Let it go on from its oldest stop to its next."""
        worker.stops.pop(0).answer.set_result(how)
        await self.settle()

    async def kill(self, worker: Worker) -> None:
        """`kill -9`: whatever it would do next does not happen."""
        worker.dead = True
        for stop in (*worker.stops, *worker.calls):
            if not stop.answer.done():
                stop.answer.set_exception(Killed())
        worker.stops.clear()
        worker.calls.clear()
        await self.settle()

    async def kill_all(self) -> None:
        for worker in self.all:
            await self.kill(worker)
        died = [each.task for each in self.all if each.task is not None]
        await asyncio.gather(*died, return_exceptions=True)

    async def settle(self) -> None:
        """Until everybody has stopped, waits for a call, or is done."""
        while True:
            for _ in range(_SETTLING):
                await asyncio.sleep(0)
            if not self._busy:
                return
            self._idle.clear()
            await self._idle.wait()

    async def stop(self, what: str) -> How:
        """Wait to be let go on; those who are no worker never wait. Raises Killed."""
        worker = alive()
        if worker is None:
            return "goes_on"
        here: Stop[How] = Stop(what)
        worker.stops.append(here)
        return await here.answer

    async def really(self, work: Awaitable[T]) -> T:
        """What the real database does meanwhile; nobody counts as stopped before it is done."""
        self._busy += 1
        try:
            return await work
        finally:
            self._busy -= 1
            self._idle.set()


def alive() -> Worker | None:
    """Whose step this is, None when it is nobody's. Raises Killed in one that has died."""
    worker = _WORKER.get()
    if worker is not None and worker.dead:
        raise Killed
    return worker
