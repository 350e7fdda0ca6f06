"""Waits until a read model has come to a position, whichever process moves it (`min_position`)."""

import asyncio
from typing import Final

from infrastructure.database import Pool

_POSITIONS: Final = "SELECT name, position FROM public.projection_positions"


class PositionWatch:
    """Read-your-writes for any process.

    A read model that runs in this process tells us of every move. For those that run elsewhere
    one query every `poll_s` seconds serves all who wait, and none is sent while nobody does.
    """

    def __init__(self, pool: Pool, *, poll_s: float = 0.02) -> None:
        """`pool` may be of either role; link_app may read positions too."""
        self._pool = pool
        self._poll_s = poll_s
        self._here: dict[str, int] = {}
        self._waiting: dict[asyncio.Future[None], tuple[str, int]] = {}
        self._poller: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Stop polling; whoever still waits runs into their time-out."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)

    def moved(self, name: str, position: int) -> None:
        """The read model runs here and has come to `position`."""
        self._here[name] = position
        self._release({name: position})

    def left(self, name: str) -> None:
        """The read model does not run here any more: only its row knows where it stands."""
        self._here.pop(name, None)

    def runs_here(self, name: str) -> bool:
        return name in self._here

    def has_reached(self, min_position: int, name: str) -> bool:
        """Whether it is known without asking: the read model runs here and is that far."""
        return self._here.get(name, -1) >= min_position

    async def wait(self, min_position: int, name: str, timeout_s: float) -> bool:
        """True once everything up to `min_position` is in the rows; False after `timeout_s`.

        Raises psycopg.Error when the positions cannot be read.
        """
        if self.has_reached(min_position, name):
            return True
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[reached] = (name, min_position)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        try:
            async with asyncio.timeout(timeout_s):
                await reached
        except TimeoutError:
            return False
        finally:
            del self._waiting[reached]
        return True

    async def _poll(self) -> None:
        if all(name in self._here for name, _ in self._waiting.values()):
            await asyncio.sleep(self._poll_s)
        while self._waiting:
            try:
                async with self._pool.connection() as connection:
                    cursor = await connection.execute(_POSITIONS)
                    self._release(dict(await cursor.fetchall()))
            except Exception as error:
                # It is those who wait that it is raised to.
                self._fail(error)
            await asyncio.sleep(self._poll_s)

    def _release(self, positions: dict[str, int]) -> None:
        for reached, (name, min_position) in self._waiting.items():
            if not reached.done() and positions.get(name, -1) >= min_position:
                reached.set_result(None)

    def _fail(self, error: Exception) -> None:
        for reached in self._waiting:
            if not reached.done():
                reached.set_exception(error)
