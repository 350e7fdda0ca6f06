"""The processes of a crowd, each of which may be killed at any moment."""

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from itertools import islice
from typing import Any, Final, Protocol

import psycopg

from application.ports import CommitFailed
from benchmarks.history import history
from domain.catalogue import EVENTS, UPCASTERS
from domain.errors import Unavailable
from domain.events import Recorded
from infrastructure.clock import SystemClock
from infrastructure.database import PROJECTOR_ROLE, Connection, pool
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.event_log.mapper import EventMapper
from infrastructure.ids import RandomIds
from infrastructure.projections import positions
from infrastructure.projections.batch import TakeIn, take_in
from infrastructure.projections.blame import RebuildRunning
from infrastructure.projections.positions import Standing
from infrastructure.projections.rebuild import rebuild
from infrastructure.projections.runner import ProjectionRunner
from interfaces.cli.session import configure_logging
from projections.read_model import ReadModel

AT_ONCE: Final = 20
FOR_EVER: Final = 10**12

LAG_MAX: Final = 20_000
LAG_ASKED_S: Final = 0.5
_LAG: Final = """
    SELECT coalesce((SELECT max(position) FROM events), 0) - min(position)
    FROM projection_positions WHERE name NOT LIKE '% (rebuild)'
"""

Body = Callable[[], Coroutine[Any, Any, None]]


def run(body: Body) -> None:
    """What a forked process does: nothing of its parent's, then the body."""
    configure_logging("critical")
    random.seed(os.urandom(8))
    asyncio.run(body())


async def write(dsn: str, delay: float) -> None:
    """Tell a history of tenants of its own for ever, with pauses of `delay` seconds in the mean.

    Waits while some read model is far behind: a log that grows faster than anybody can read it
    would be a test of patience.
    """
    log = await _log(dsn)
    told = history(RandomIds(SystemClock()), FOR_EVER)
    asked_at = 0.0
    while True:
        if time.monotonic() > asked_at + LAG_ASKED_S:
            while await _lag(dsn) > LAG_MAX:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(LAG_ASKED_S)
            asked_at = time.monotonic()
        submissions = list(islice(told, random.randint(1, AT_ONCE)))  # noqa: S311
        try:
            await asyncio.gather(*(log.append(*each) for each in submissions))
        except (CommitFailed, Unavailable):
            # Whether it is there nobody knows, and what follows would have to know.
            told = history(RandomIds(SystemClock()), FOR_EVER)
        await asyncio.sleep(random.expovariate(1 / delay))


async def work(dsn: str, take: TakeIn) -> None:
    """Keep all read models up to date, or stand by; never ends by itself."""
    log = await _log(dsn)
    asked = pool(dsn, PROJECTOR_ROLE)
    await asked.open(wait=True)
    async with ProjectionRunner(dsn, log, asked, take=take) as runner:
        await runner.until_failure()


async def rebuild_one(dsn: str, model: ReadModel) -> None:
    """Build a read model anew and swap it in, once the server has let go of who was killed."""
    log = await _log(dsn)
    try:
        while True:
            try:
                await rebuild(dsn, model, log)
            except RebuildRunning:
                await asyncio.sleep(0.05)
            else:
                return
    except psycopg.OperationalError:
        sys.exit(1)  # its connection was cut
    finally:
        await log.close()


async def make(dsn: str) -> None:
    """The tables, before anybody rebuilds one."""
    log = await _log(dsn)
    async with pool(dsn, PROJECTOR_ROLE) as asked, ProjectionRunner(dsn, log, asked):
        pass
    await log.close()


async def position_apart(
    connection: Connection, model: ReadModel, before: Standing, events: Sequence[Recorded]
) -> Standing:
    """The planted bug of a worker: the position is committed, and a moment later the rows."""
    async with connection.transaction():
        if await positions.advance(connection, before, events[-1].position) is None:
            return await take_in(connection, model, before, events)
    behind = Standing(
        name=before.name,
        version=before.version,
        ddl_sha256=before.ddl_sha256,
        position=events[-1].position,
    )
    await asyncio.sleep(0.2)
    relevant = [each for each in events if isinstance(each.event, model.listens_to)]
    if relevant:
        async with connection.transaction():
            await model.project(connection, relevant)
    return behind


class Replace(Protocol):
    """`positions.replace`."""

    def __call__(
        self, connection: Connection, name: str, version: int, ddl_sha256: str, position: int
    ) -> Coroutine[Any, Any, None]: ...


_NEXT: Final = "SELECT FROM public.events WHERE position = %s + 1"


def skipping(real: Replace) -> Replace:
    """The planted bug of a rebuild: the swapped tables claim one event more than they have."""

    async def replace(
        connection: Connection, name: str, version: int, ddl_sha256: str, position: int
    ) -> None:
        found = None
        while found is None:
            found = await (await connection.execute(_NEXT, (position,))).fetchone()
        await real(connection, name, version, ddl_sha256, position + 1)

    return replace


async def rebuild_and_skip(dsn: str, model: ReadModel) -> None:
    """In a process of its own: it replaces a function of the product's."""
    positions.replace = skipping(positions.replace)
    await rebuild_one(dsn, model)


async def _lag(dsn: str) -> int:
    """By how many positions the read model is behind that is furthest behind."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        found = await (await connection.execute(_LAG)).fetchone()
    lag: int = found[0] if found is not None else 0
    return lag


async def _log(dsn: str) -> PostgresEventLog:
    return await PostgresEventLog.open(dsn, EventMapper(EVENTS, UPCASTERS))
