"""The transparency log: what it takes from the append path, and how soon an event is signed."""

import asyncio
import statistics
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from typing import Any, Final

import psycopg
from psycopg.rows import TupleRow

from benchmarks.append import SUBMITTERS, TENANT, appended, event_of
from benchmarks.figures import Figure, Machine, Options, Run, figure
from benchmarks.ground import ground
from domain.catalogue import EVENTS, UPCASTERS
from domain.events import Origin, StreamAppend
from infrastructure.clock import SystemClock
from infrastructure.edge.listeners import new_event_loop
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.event_log.mapper import EventMapper
from infrastructure.event_log.tail import Tail
from infrastructure.ids import RandomIds
from infrastructure.transparency.ed25519 import NoteSigner
from infrastructure.transparency.keeper import LogKeeper
from infrastructure.transparency.signer import CheckpointSigner
from interfaces.process import spare_what_stays

APPENDS_PER_S: Final = 200
LOOK_EVERY_S: Final = 0.01
PATIENCE_S: Final = 60.0

_SIGNED: Final = "SELECT size FROM transparency_checkpoints WHERE log_id = %s"
_BEHIND: Final = """
    SELECT (SELECT max(position) FROM events) - (SELECT position FROM transparency_position)"""


def checkpoint(options: Options) -> Figure:
    """Appends per second with a keeper in the same process against without one, with the tail that
    every process has in both; at 200 a second, from acknowledgement to checkpoint."""
    machine = Machine()
    behind: list[int] = []
    with ground() as place:
        kept, plain = (place.database(name, migrated=True) for name in ("kept", "plain"))
        runs: list[Run] = []
        for _ in range(options.rounds):
            ours = appended(
                kept, SUBMITTERS, options.seconds, lambda: _process(kept, keeping=True)
            )[0]
            with psycopg.connect(kept) as connection:
                row = connection.execute(_BEHIND).fetchone()
                behind.append(row[0] if row is not None else 0)
            baseline = appended(
                plain, SUBMITTERS, options.seconds, lambda: _process(plain, keeping=False)
            )[0]
            runs.append(Run(ours=ours, baseline=baseline))
        steady = place.database("steady", migrated=True)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            delays = runner.run(_steady(steady, options.seconds * options.rounds))
    others: dict[str, Any] = {
        "submitters": SUBMITTERS,
        "events_behind_at_the_end": behind,
        "signed": {
            "appends_per_s": APPENDS_PER_S,
            "events": len(delays),
            "p50_ms": round(statistics.median(delays) * 1000, 1),
            "p99_ms": round(sorted(delays)[int(len(delays) * 0.99)] * 1000, 1),
            "max_ms": round(max(delays) * 1000, 1),
        },
    }
    return figure("checkpoint", "appends/s", runs, machine, others)


@asynccontextmanager
async def _process(dsn: str, *, keeping: bool) -> AsyncGenerator[None]:
    """The tail, which every process has, and the keeper that it tells of events."""
    signer = CheckpointSigner(NoteSigner(bytes(32)), "bench.example", final_at_once=True)
    keeper = LogKeeper(dsn, signer)
    tail = Tail(dsn, EventMapper(EVENTS, UPCASTERS))
    tail.subscribe(keeper.heard)
    await tail.start()
    try:
        async with keeper if keeping else nullcontext():
            yield
    finally:
        await tail.close()


async def _steady(dsn: str, seconds: float) -> list[float]:
    """Of each event, the seconds from its acknowledgement to the checkpoint that covers it."""
    mapper = EventMapper(EVENTS, UPCASTERS)
    ids, event = RandomIds(SystemClock()), event_of(mapper)
    log = await PostgresEventLog.open(dsn, mapper)
    spare_what_stays()
    acknowledged: dict[int, float] = {}
    signed: list[tuple[int, float]] = []
    total = max(20, int(seconds * APPENDS_PER_S))

    async def submit() -> None:
        origin = Origin(actor="system:benchmark", correlation_id=ids.uuid(), command_id=ids.uuid())
        part = StreamAppend(
            tenant_id=TENANT, stream_id=ids.uuid(), expected_version=0, events=[event]
        )
        appended_at = await log.append(origin, [part])
        acknowledged[appended_at.last_position] = time.perf_counter()

    try:
        async with (
            _process(dsn, keeping=True),
            await psycopg.AsyncConnection[TupleRow].connect(dsn, autocommit=True) as watcher,
            asyncio.timeout(seconds + PATIENCE_S),
            asyncio.TaskGroup() as group,
        ):
            group.create_task(_watch(watcher, total, signed))
            began = time.perf_counter()
            for number in range(total):
                await asyncio.sleep(began + number / APPENDS_PER_S - time.perf_counter())
                group.create_task(submit())
    finally:
        await log.close()
    # One tenant and an empty log before: an event's position is the size that covers it.
    return [
        next(at for size, at in signed if size >= position) - acknowledged[position]
        for position in acknowledged
    ]


async def _watch(
    connection: psycopg.AsyncConnection[TupleRow], until: int, signed: list[tuple[int, float]]
) -> None:
    """Note every size that is signed, when it is seen."""
    size = 0
    while size < until:
        row = await (await connection.execute(_SIGNED, (TENANT,))).fetchone()
        if row is not None and row[0] > size:
            size = row[0]
            signed.append((size, time.perf_counter()))
        await asyncio.sleep(LOOK_EVERY_S)
