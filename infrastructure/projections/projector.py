"""Keeps one read model up to date: alone among all processes, in order, skipping nothing.

standing by ─▶ running ─▶ (the connection, and with it our turn, is lost) ─▶ standing by
                 │ ▲
                 ▼ │ resume, rebuild
               halted
"""

import asyncio
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psycopg
import structlog

from domain.errors import Unavailable
from domain.events import Recorded
from infrastructure.database import Connection
from infrastructure.event_log.mapper import UnknownEvent
from infrastructure.projections import positions, tables
from infrastructure.projections.batch import GapInLog, Overtaken, TakeIn, take_in
from infrastructure.projections.log_window import LogReader
from infrastructure.projections.position_watch import PositionWatch
from infrastructure.projections.positions import Halt, Standing, rebuild_name
from infrastructure.projections.rebuild import RebuildRunning, rebuild
from projections.read_model import ReadModel

log: Final = structlog.stdlib.get_logger(__name__)

_OUR_CODE: Final = Path(__file__).parents[2]
_LIMIT_EXCEEDED: Final = "54"  # SQLSTATE class: a value too large to be stored


class Pace:
    """How a projector shares its work out: `batch` events to a commit while catching up.

    Once it has caught up it commits at most once per `live_interval_s`, unless somebody waits
    for it; `poll_s` is how long a lost notification can go unnoticed, and how often a process
    that stands by asks for its turn.
    """

    def __init__(
        self, *, batch: int = 500, live_interval_s: float = 0.05, poll_s: float = 0.5
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
        self._singly_until = 0
        self._upgrade_failed = False

    def wake(self) -> None:
        """There may be something new: an event, a resume, a rebuild."""
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
                if not _passes_by_itself(error):
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
            standing = await self._step(connection, standing)

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
            await rebuild(self._dsn, self._model, self._log, batch=self._pace.batch)
        except Exception as error:
            if _passes_by_itself(error):
                raise
            self._upgrade_failed = True
            reached = await positions.standing(connection, rebuild_name(old.name))
            position = 0 if reached is None else reached.position
            why = Halt(position=position + 1, event=None, error=_description(error))
            await self._halted(connection, old, why)
        return await self._stored(connection)

    async def _step(self, connection: Connection, standing: Standing) -> Standing:
        """One batch, or one wait for there to be one."""
        singly = standing.position < self._singly_until
        limit = 1 if singly else self._pace.batch
        events: Sequence[Recorded] = ()
        try:
            events = await self._log.read(standing.position, limit)
            if events:
                standing = await self._take(connection, self._model, standing, events)
                self._watch.moved(standing.name, standing.position)
        except Exception as error:
            if _passes_by_itself(error):
                raise
            return await self._stopped_by(connection, standing, events, error)
        if not events:
            await self._sleep(self._news, self._pace.poll_s)
        elif len(events) < limit:
            await self._sleep(self._hurry, self._pace.live_interval_s)
        return standing

    async def _stopped_by(
        self,
        connection: Connection,
        standing: Standing,
        events: Sequence[Recorded],
        error: Exception,
    ) -> Standing:
        """A batch fails as a whole; taken one by one, its events show which of them it was."""
        if len(events) > 1:
            self._singly_until = events[-1].position
            return standing
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


def _passes_by_itself(error: Exception) -> bool:
    """The database is away or has had enough of us, or another process was first: no event is
    to blame, and trying again is right."""
    if isinstance(error, psycopg.OperationalError):
        return not (error.sqlstate or "").startswith(_LIMIT_EXCEEDED)
    return isinstance(
        error,
        psycopg.InterfaceError
        | psycopg.errors.ReadOnlySqlTransaction
        | Unavailable
        | Overtaken
        | RebuildRunning,
    )


def _halt(standing: Standing, events: Sequence[Recorded], error: Exception) -> Halt:
    if isinstance(error, UnknownEvent):
        return Halt(position=standing.position + 1, event=error.name, error="UnknownEvent")
    if events and not isinstance(error, GapInLog):
        return Halt(
            position=events[0].position, event=events[0].event.NAME, error=_description(error)
        )
    return Halt(position=standing.position + 1, event=None, error=_description(error))


def _retried(halt: Halt) -> bool:
    """A process with newer code may know the event, so this halt is over when reading works."""
    return halt.error == "UnknownEvent"


def _description(error: Exception) -> str:
    """Class, SQLSTATE and place; never the message, which may quote an event or a row."""
    name = type(error).__name__
    if isinstance(error, psycopg.Error) and error.sqlstate:
        name = f"{name} (SQLSTATE {error.sqlstate})"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(_OUR_CODE) and ".venv" not in path.parts:
            return f"{name} in {frame.name}, {path.relative_to(_OUR_CODE)}:{frame.lineno}"
    return name
