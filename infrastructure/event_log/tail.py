"""Follows the log as it grows and tells subscribers, once per process and without a gap.

A notification only says that it is worth looking; looking every 200 ms is what is relied on.
A busy log notifies for every commit: it is then looked at once in 50 ms, for many commits at once.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import psycopg
import structlog

from domain.events import Recorded
from infrastructure.database import PROJECTOR_ROLE
from infrastructure.endings import end
from infrastructure.event_log.mapper import EventMapper, UnknownEvent
from infrastructure.event_log.positions import LAST_POSITION, READ, page
from infrastructure.event_log.session import ConnectionLost, Session

Subscriber = Callable[[Sequence[Recorded]], None]
"""Is called in the event loop with consecutive events; must be quick and must not raise."""

_PAGE: Final = 500
_READ_WITHIN_S: Final = 2.0

STANDSTILL_S: Final = 30.0
"""How long a tail that catches up may show no progress."""

_log = structlog.get_logger(__name__)


class CatchingUp(Protocol):
    """What `caught_up` asks of a tail."""

    @property
    def position(self) -> int: ...

    async def wait_for(self, position: int, timeout_s: float) -> bool: ...


async def caught_up(tail: CatchingUp, end: int, *, standstill_s: float = STANDSTILL_S) -> None:
    """Return once the tail has come to `end`, however far that is.

    A read model whose position it began at may lag by any number of events; only a tail that
    stands still for `standstill_s` is given up. Raises TimeoutError.
    """
    at = tail.position
    while not await tail.wait_for(end, standstill_s):
        if tail.position == at:
            raise TimeoutError(f"the event log's tail stands still at {at}, before {end}")
        at = tail.position
        _log.info("tail_catching_up", position=at, end=end)


class Tail:
    """Starts after position `after`, or with None after what is there when it starts."""

    def __init__(
        self,
        dsn: str,
        mapper: EventMapper,
        *,
        after: int | None = None,
        poll_s: float = 0.2,
        rest_s: float = 0.05,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = Session(dsn, PROJECTOR_ROLE, on_connect="LISTEN link_events")
        self._mapper = mapper
        self._after = after
        self._poll_s = poll_s
        self._rest_s = rest_s
        self._monotonic = monotonic
        self._subscribers: list[Subscriber] = []
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._position = after or 0
        self._caught_up_at: float | None = None
        self._held: UnknownEvent | None = None
        self._follower: asyncio.Task[None] | None = None

    @property
    def position(self) -> int:
        """The last position that every subscriber has seen."""
        return self._position

    @property
    def held(self) -> UnknownEvent | None:
        """Why the tail stands still: an event that this process does not know."""
        return self._held

    def fresh(self, within_s: float) -> bool:
        """Whether subscribers have seen everything that was committed `within_s` ago."""
        return self._caught_up_at is not None and self._monotonic() - self._caught_up_at <= within_s

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call before `start`, so that nothing is missed."""
        self._subscribers.append(subscriber)

    async def start(self) -> None:
        """Connect, fix the starting position, and follow. Raises psycopg.Error, ConnectionLost."""
        await self._session.open()
        if self._after is None:
            try:
                rows = await self._session.fetch(LAST_POSITION, (), within_s=_READ_WITHIN_S)
            except BaseException:
                await self._session.close()
                raise
            self._position = rows[0][0]
        self._follower = asyncio.create_task(self._follow(), name="event log tail")

    async def close(self) -> None:
        """Stop following. Raises what a subscriber raised, if one did."""
        follower, self._follower = self._follower, None
        self._caught_up_at = None
        try:
            if follower is not None:
                await end([follower])
                if not follower.cancelled():
                    follower.result()
        finally:
            await self._session.close()

    async def until_failure(self) -> None:
        """Return only by raising what ended the following: a bug, for the process to die of."""
        if self._follower is not None:
            await asyncio.shield(self._follower)

    async def wait_for(self, position: int, timeout_s: float) -> bool:
        """Whether subscribers have seen `position`, waiting for at most `timeout_s` seconds."""
        if self._position >= position:
            return True
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (position, reached)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(timeout_s):
                await reached
        except TimeoutError:
            return self._position >= position
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)
        return True

    async def _follow(self) -> None:
        looked_at = -self._rest_s
        while True:
            try:
                # The first after a pause is told at once; those that follow it closely, together.
                await asyncio.sleep(looked_at + self._rest_s - self._monotonic())
                looked_at = self._monotonic()
                while await self._advance():
                    pass
                await self._session.notified(self._poll_s)
            except (ConnectionLost, psycopg.Error) as error:
                _log.warning("tail_lost_connection", error=type(error).__name__)
                await self._session.close()
                await asyncio.sleep(self._poll_s)
            except Exception:
                # Standing still is safe: nobody takes a tail that is not fresh for the present.
                self._caught_up_at = None
                _log.exception("tail_stands_still", position=self._position)
                raise

    async def _advance(self) -> bool:
        """Deliver one page; whether there may be more at once."""
        asked_at = self._monotonic()
        rows = await self._session.fetch(READ, (self._position, _PAGE), within_s=_READ_WITHIN_S)
        found = page(self._mapper, rows, self._position)
        if found.events:
            for subscriber in self._subscribers:
                subscriber(found.events)
            self._position = found.last
            self._tell_waiting()
        if found.held is not None:
            if self._held is None:
                _log.error("tail_holds", position=self._position, reason=str(found.held))
            self._held = found.held
            return False
        self._held = None
        if len(rows) == _PAGE:
            return True
        self._caught_up_at = asked_at
        return False

    def _tell_waiting(self) -> None:
        still: list[tuple[int, asyncio.Future[None]]] = []
        for position, reached in self._waiting:
            if position > self._position:
                still.append((position, reached))
            elif not reached.done():
                reached.set_result(None)
        self._waiting = still
