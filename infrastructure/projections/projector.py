"""Keeps one read model up to date: alone among all processes, in order, skipping nothing.

standing by ─▶ running ─▶ (the connection, and with it our turn, is lost) ─▶ standing by
                 │ ▲
                 ▼ │ resume, rebuild
               halted
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import structlog

from domain.events import Recorded
from infrastructure.database import Connection
from infrastructure.event_log.mapper import UnknownEvent
from infrastructure.projections import positions, tables
from infrastructure.projections.batch import Overtaken, TakeIn, take_in
from infrastructure.projections.blame import description, passes_by_itself
from infrastructure.projections.log_window import LogReader
from infrastructure.projections.position_watch import PositionWatch
from infrastructure.projections.positions import Halt, Standing, rebuild_name
from infrastructure.projections.rebuild import RebuildHalted, rebuild
from infrastructure.projections.resumption import resume_some, take_in_or_halt
from infrastructure.resting import rest_s
from projections.read_model import ReadModel

log: Final = structlog.stdlib.get_logger(__name__)


class Pace:
    """How a projector shares its work out: `batch` events to a commit while catching up.

    Once it has caught up it commits at most once per `live_interval_s` (longer while the log is
    busy), unless somebody in its process waits for it; `poll_s` is how long a lost notification
    can go unnoticed, and how often a process that stands by asks for its turn.
    """

    def __init__(
        self, *, batch: int = 2000, live_interval_s: float = 0.05, poll_s: float = 0.5
    ) -> None:
        self.batch = batch
        self.live_interval_s = live_interval_s
        self.poll_s = poll_s


class Projector:
    """One read model's runner. `run` never returns by itself; cancel it."""

    def __init__(
        self,
        dsn: str,
        model: ReadModel,
        log_reader: LogReader,
        watch: PositionWatch,
        pace: Pace,
        take: TakeIn = take_in,
    ) -> None:
        self._dsn = dsn
        self._model = model
        self._log = log_reader
        self._watch = watch
        self._pace = pace
        self._take = take
        self._news = asyncio.Event()
        self._hurry = asyncio.Event()
        self._upgrade_failed = False
        self._looked_for_resumes_at = 0.0
        self._resumed = False
        self._taken = 0
        """Events since the last rest."""

    def wake(self) -> None:
        """There may be something new: an event, a rebuild."""
        self._news.set()

    def resume(self) -> None:
        """Somebody asked for another try."""
        self._resumed = True
        self._news.set()

    def hurry(self) -> None:
        """Somebody waits for this read model: do not linger before the next commit."""
        self._hurry.set()
        self._news.set()

    async def run(self) -> None:
        """Stand by, run when it is our turn, and come back when the connection is lost."""
        while True:
            try:
                connection = await tables.connect(self._dsn, tables.LIVE)
                async with connection:
                    # Newer code does not wait for the old process to go: it rebuilds and swaps.
                    await self._stored(connection)
                    await self._stand_by(connection)
                    await self._follow(connection)
            except Exception as error:
                if not passes_by_itself(error):
                    raise
                log.warning(
                    "projection_interrupted",
                    projection=self._model.name,
                    error=type(error).__name__,
                )
            finally:
                self._watch.left(self._model.name)
            await asyncio.sleep(self._pace.poll_s)

    async def _stand_by(self, connection: Connection) -> None:
        while True:
            if await tables.try_run_lock(connection, self._model.name):
                log.info("projection_runs_here", projection=self._model.name)
                return
            await asyncio.sleep(self._pace.poll_s)

    async def _follow(self, connection: Connection) -> None:
        """Take in the log for as long as the connection lives, and raises when it does not."""
        standing = await self._current(connection)
        while True:
            self._news.clear()
            if standing.version > self._model.version:
                raise Overtaken(self._model.name)
            if standing.halt is not None and not _retried(standing.halt):
                await self._sleep(self._news, self._pace.poll_s)
                standing = await self._current(connection)
                continue
            if standing.tenants_halted:
                await self._resume_tenants(connection, standing)
            standing = await self._step(connection, standing)

    async def _resume_tenants(self, connection: Connection, standing: Standing) -> None:
        """A portion of what resuming tenants missed; between portions the others go on."""
        now = time.monotonic()
        if now < self._looked_for_resumes_at + self._pace.poll_s and not self._resumed:
            return
        self._looked_for_resumes_at = now
        self._resumed = await resume_some(
            connection, self._model, standing, self._log, batch=self._pace.batch
        )
        if self._resumed:
            self._news.set()

    async def _current(self, connection: Connection) -> Standing:
        """Where the read model stands, now that this process runs it."""
        standing = await self._stored(connection)
        self._watch.moved(standing.name, standing.position)
        return standing

    async def _stored(self, connection: Connection) -> Standing:
        """The stored standing, after the rebuild that tables of an older version need."""
        standing = await positions.standing(connection, self._model.name)
        assert standing is not None, "the runner makes every read model before it runs one"
        if standing.version < self._model.version:
            return await self._upgraded(connection, standing)
        return standing

    async def _upgraded(self, connection: Connection, old: Standing) -> Standing:
        """Rebuild as the newer version; once, and then again only after a resume."""
        if self._upgrade_failed and old.halt is not None:
            return old
        try:
            await rebuild(
                self._dsn, self._model, self._log, batch=self._pace.batch, lose_tenants=True
            )
        except Exception as error:
            if passes_by_itself(error):
                raise
            self._upgrade_failed = True
            await self._halted(connection, old, await _failed_upgrade(connection, old, error))
        return await self._stored(connection)

    async def _step(self, connection: Connection, standing: Standing) -> Standing:
        """One batch, or one wait for there to be one."""
        events: Sequence[Recorded] = ()
        try:
            events = await self._log.read(standing.position, self._pace.batch)
            if events:
                standing = await take_in_or_halt(
                    connection, self._model, standing, events, self._take
                )
                self._watch.moved(standing.name, standing.position)
        except Exception as error:
            if passes_by_itself(error):
                raise
            return await self._stopped_by(connection, events, error)
        self._taken += len(events)
        if len(events) == self._pace.batch:
            return standing
        taken, self._taken = self._taken, 0
        if events:
            await self._sleep(self._hurry, rest_s(self._pace.live_interval_s, taken))
        else:
            await self._sleep(self._news, self._pace.poll_s)
        return standing

    async def _stopped_by(
        self, connection: Connection, events: Sequence[Recorded], error: Exception
    ) -> Standing:
        """Nobody can go on: not for one event's sake, so for all tenants."""
        standing = await self._current(connection)
        why = _halt(standing, events, error)
        if standing.halt != why:
            await self._halted(connection, standing, why)
        await self._sleep(self._news, self._pace.poll_s)
        return await self._current(connection)

    async def _halted(self, connection: Connection, standing: Standing, why: Halt) -> None:
        log.error(
            "projection_halted",
            projection=standing.name,
            position=why.position,
            event_name=why.event,
            error=why.error,
        )
        await positions.halt(connection, standing, why)

    async def _sleep(self, until: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await until.wait()
        except TimeoutError:
            pass
        self._hurry.clear()


async def _failed_upgrade(connection: Connection, old: Standing, error: Exception) -> Halt:
    if isinstance(error, RebuildHalted):
        return Halt(position=error.halt.position, event=error.halt.event, error=error.halt.error)
    reached = await positions.standing(connection, rebuild_name(old.name))
    position = 0 if reached is None else reached.position
    return Halt(position=position + 1, event=None, error=description(error))


def _halt(standing: Standing, events: Sequence[Recorded], error: Exception) -> Halt:
    position = standing.position + 1
    if isinstance(error, UnknownEvent):
        return Halt(position=position, event=error.name, error="UnknownEvent")
    event = next((each.event.NAME for each in events if each.position == position), None)
    return Halt(position=position, event=event, error=description(error))


def _retried(halt: Halt) -> bool:
    """A process with newer code may know the event, so this halt is over when reading works."""
    return halt.error == "UnknownEvent"
