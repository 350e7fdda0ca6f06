"""Catching up with the log: our runner against the event-sourcing library's, for the same rows."""

import asyncio
import time
from collections.abc import Callable
from itertools import islice
from typing import Final

import benchmarks.library_projections as library
from benchmarks.figures import Figure, Machine, Options, Run, figure
from benchmarks.ground import Ground, ground
from benchmarks.history import history
from domain.catalogue import EVENTS, UPCASTERS
from infrastructure.clock import SystemClock
from infrastructure.database import PROJECTOR_ROLE, pool
from infrastructure.edge.listeners import new_event_loop
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.event_log.mapper import EventMapper
from infrastructure.ids import RandomIds
from infrastructure.projections.runner import ProjectionRunner
from interfaces.process import spare_what_stays
from projections.catalogue import READ_MODELS

EVENTS_PER_SECOND: Final = 4_000
"""How long a history is, for each second that was asked for: 20,000 events in five."""

SHORTER: Final = 10
BASELINE_EVENTS_MAX: Final = 5_000
"""The baseline catches up with a history that is so many times shorter, and has no more events:
it takes each by itself, so its rate does not depend on how many there are."""

AT_ONCE: Final = 100
PATIENCE_S: Final = 3600.0


def projections(options: Options) -> Figure:
    """All read models from nothing to the end of a mixed history, side by side as they run."""
    machine = Machine()
    events = options.events or max(500, int(EVENTS_PER_SECOND * options.seconds))
    fewer = min(max(200, events // SHORTER), BASELINE_EVENTS_MAX)
    with ground() as place:
        long, short = written(place, "long", events), written(place, "short", fewer)
        runs = [
            Run(
                ours=_copied(place, "long", lambda dsn: _caught_up(dsn, long)),
                baseline=_copied(place, "short", lambda dsn: library.caught_up(dsn, short)),
            )
            for _ in range(options.rounds)
        ]
    others = {"events": {"ours": long, "baseline": short}, "read_models": len(READ_MODELS)}
    return figure("projections", "events/s", runs, machine, others)


def written(place: Ground, name: str, events: int) -> int:
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


def _copied(place: Ground, template: str, measure: Callable[[str], float]) -> float:
    """What is measured on a copy of a database, which is gone afterwards."""
    dsn = place.database("catching_up", template=template)
    found = measure(dsn)
    place.drop("catching_up")
    return found


def _caught_up(dsn: str, end: int) -> float:
    """Events per second until the last read model has seen them all."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return end / runner.run(catch_up(dsn, end))


async def catch_up(dsn: str, end: int) -> float:
    """Seconds until every read model has come from nothing to `end`."""
    log = await PostgresEventLog.open(dsn, EventMapper(EVENTS, UPCASTERS))
    positions = pool(dsn, PROJECTOR_ROLE)
    try:
        await positions.open(wait=True)
        runner = ProjectionRunner(dsn, log, positions)
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
