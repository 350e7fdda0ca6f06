"""Catching up with the log: read models in batches against one commit for every event."""

import asyncio
import time
from collections.abc import Sequence
from itertools import islice
from typing import Final

from benchmarks.figures import Figure, Machine, Options, Run, figure
from benchmarks.ground import Ground, ground
from benchmarks.history import history
from domain.catalogue import EVENTS, UPCASTERS
from domain.events import Recorded
from infrastructure.clock import SystemClock
from infrastructure.database import PROJECTOR_ROLE, Connection, pool
from infrastructure.edge.listeners import new_event_loop
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.event_log.mapper import EventMapper
from infrastructure.ids import RandomIds
from infrastructure.projections.batch import TakeIn, take_in
from infrastructure.projections.positions import Standing
from infrastructure.projections.runner import ProjectionRunner
from interfaces.process import spare_what_stays
from projections.catalogue import READ_MODELS
from projections.read_model import ReadModel

EVENTS_PER_SECOND: Final = 4_000
"""How long a history is, for each second that was asked for: 20,000 events in five."""

SHORTER: Final = 10
"""The baseline catches up with a history that is so many times shorter."""

AT_ONCE: Final = 100
PATIENCE_S: Final = 300.0


def projections(options: Options) -> Figure:
    """All read models from nothing to the end of a mixed history, side by side as they run."""
    machine = Machine()
    events = max(500, int(EVENTS_PER_SECOND * options.seconds))
    with ground() as place:
        long, short = _written(place, "long", events), _written(place, "short", events // SHORTER)
        runs = [
            Run(
                ours=_caught_up(place, "long", long, take_in),
                baseline=_caught_up(place, "short", short, one_commit_per_event),
            )
            for _ in range(options.rounds)
        ]
    others = {"events": {"ours": long, "baseline": short}, "read_models": len(READ_MODELS)}
    return figure("projections", "events/s", runs, machine, others)


async def one_commit_per_event(
    connection: Connection, model: ReadModel, before: Standing, events: Sequence[Recorded]
) -> Standing:
    """The baseline: events are still read in pages, and each is taken in by itself."""
    for recorded in events:
        before = await take_in(connection, model, before, [recorded])
    return before


def _written(place: Ground, name: str, events: int) -> int:
    """Make a database with so many events or a few more; how many there are."""
    dsn = place.database(name, migrated=True)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(_write(dsn, events))


async def _write(dsn: str, events: int) -> int:
    log = await PostgresEventLog.open(dsn, EventMapper(EVENTS, UPCASTERS))
    last = 0
    try:
        told = history(RandomIds(SystemClock()), events)
        # What is submitted at once is committed together, each stream in the order of its events.
        while submissions := list(islice(told, AT_ONCE)):
            appended = await asyncio.gather(*(log.append(*each) for each in submissions))
            last = max(each.last_position for each in appended)
    finally:
        await log.close()
    return last


def _caught_up(place: Ground, template: str, end: int, take: TakeIn) -> float:
    """Events per second until the last read model has seen them all."""
    dsn = place.database("catching_up", template=template)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        seconds = runner.run(_catch_up(dsn, end, take))
    place.drop("catching_up")
    return end / seconds


async def _catch_up(dsn: str, end: int, take: TakeIn) -> float:
    log = await PostgresEventLog.open(dsn, EventMapper(EVENTS, UPCASTERS))
    positions = pool(dsn, PROJECTOR_ROLE)
    try:
        await positions.open(wait=True)
        runner = ProjectionRunner(dsn, log, positions, take=take)
        spare_what_stays()
        began = time.perf_counter()
        async with runner:
            reached = await asyncio.gather(
                *(runner.wait(end, model.name, PATIENCE_S) for model in READ_MODELS)
            )
            seconds = time.perf_counter() - began
        if not all(reached):
            raise TimeoutError("a read model did not come to the end of the log")
    finally:
        await positions.close()
        await log.close()
    return seconds
