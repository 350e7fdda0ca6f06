"""Durable appends: our group commit against one row per commit, and the library's recorder."""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final
from uuid import uuid4

import eventsourcing.postgres as library
from eventsourcing.persistence import StoredEvent
from psycopg.conninfo import conninfo_to_dict

from benchmarks.figures import Figure, Machine, Options, Run, figure
from benchmarks.ground import ground
from benchmarks.pgbench import OneRowPerCommit
from domain.catalogue import EVENTS, UPCASTERS
from domain.events import Origin, StreamAppend
from domain.ids import TenantId
from domain.transaction import TransactionDenied
from infrastructure.clock import SystemClock
from infrastructure.edge.listeners import new_event_loop
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.event_log.mapper import EventMapper
from infrastructure.ids import RandomIds
from interfaces.process import spare_what_stays

SUBMITTERS: Final = 32
EVENT_BYTES: Final = 600
TENANT: Final = TenantId(uuid4())


def append(options: Options) -> Figure:
    """32 submitters, one event of 600 bytes for each submission, answered when it is durable."""
    machine = Machine()
    with ground() as place:
        ours = place.database("ours", migrated=True)
        plain = OneRowPerCommit(place.database("plain"), EVENT_BYTES)
        recorder = _Library(place.database("library"))
        runs: list[Run] = []
        library_runs: list[float] = []
        try:
            for _ in range(options.rounds):
                runs.append(
                    Run(
                        ours=appended(ours, SUBMITTERS, options.seconds)[0],
                        baseline=plain.run(SUBMITTERS, options.seconds)[0],
                    )
                )
                library_runs.append(recorder.run(SUBMITTERS, options.seconds))
            alone_ms = appended(ours, 1, options.seconds)[1]
            insert_ms = plain.run(1, options.seconds)[1]
        finally:
            recorder.close()
    found = figure("append", "appends/s", runs, machine)
    library_per_s = sorted(library_runs)[len(library_runs) // 2]
    others: dict[str, Any] = {
        "submitters": SUBMITTERS,
        "library": round(library_per_s, 1),
        "ratio_to_library": round(found.ours / library_per_s, 2),
        "one_submitter": {"ours_ms": round(alone_ms, 3), "plain_insert_ms": round(insert_ms, 3)},
    }
    return figure("append", "appends/s", runs, machine, others)


def appended(
    dsn: str,
    submitters: int,
    seconds: float,
    beside: Callable[[], AbstractAsyncContextManager[object]] = nullcontext,
) -> tuple[float, float]:
    """Appends per second, and the mean milliseconds that a submitter waited.

    `beside` is what else the process does meanwhile.
    """

    async def run() -> tuple[float, float]:
        async with beside():
            return await _append(dsn, submitters, seconds)

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(run())


async def _append(dsn: str, submitters: int, seconds: float) -> tuple[float, float]:
    mapper = EventMapper(EVENTS, UPCASTERS)
    ids, event = RandomIds(SystemClock()), event_of(mapper)
    log = await PostgresEventLog.open(dsn, mapper)
    spare_what_stays()
    warm_at = time.perf_counter() + min(1.0, seconds / 4)
    ends_at = warm_at + seconds
    done = 0
    waited_s = 0.0

    async def submit() -> None:
        nonlocal done, waited_s
        while (asked_at := time.perf_counter()) < ends_at:
            origin = Origin(
                actor="system:benchmark", correlation_id=ids.uuid(), command_id=ids.uuid()
            )
            part = StreamAppend(
                tenant_id=TENANT, stream_id=ids.uuid(), expected_version=0, events=[event]
            )
            await log.append(origin, [part])
            if asked_at >= warm_at:
                done += 1
                waited_s += time.perf_counter() - asked_at

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(submitters):
                group.create_task(submit())
    finally:
        await log.close()
    return done / seconds, waited_s / max(done, 1) * 1000


def event_of(mapper: EventMapper) -> TransactionDenied:
    """An event whose stored form takes exactly `EVENT_BYTES`."""

    def built(filling: str) -> TransactionDenied:
        return TransactionDenied(
            reason="product_denied",
            text_commitment=filling,
            authorize_ms=41.07,
            decided_at=SystemClock().now().replace(microsecond=123_456),
            total_ms=93.11,
        )

    shortest = len(mapper.encode(built(""))[1])
    event = built(random.Random(1).randbytes(EVENT_BYTES).hex()[: EVENT_BYTES - shortest])  # noqa: S311
    assert len(mapper.encode(event)[1]) == EVENT_BYTES
    return event


class _Library:
    """The event-sourcing library's own recorder, as its documentation has it, with threads."""

    def __init__(self, dsn: str) -> None:
        given: dict[str, Any] = conninfo_to_dict(dsn)
        self._datastore = library.PostgresDatastore(
            dbname=given["dbname"],
            host=given["host"],
            port=given["port"],
            user=given["user"],
            password="",
            pool_size=SUBMITTERS,
        )
        self._recorder = library.PostgresApplicationRecorder(
            self._datastore, events_table_name="stored_events"
        )
        self._recorder.create_table()
        self._ids = RandomIds(SystemClock())

    def close(self) -> None:
        self._datastore.close()

    def run(self, submitters: int, seconds: float) -> float:
        """Appends per second."""
        counts = [0] * submitters
        warm_at = time.perf_counter() + min(1.0, seconds / 4)
        ends_at = warm_at + seconds

        def submit(number: int) -> None:
            while (now := time.perf_counter()) < ends_at:
                stored = StoredEvent(self._ids.uuid(), 1, "transaction.denied", b"x" * EVENT_BYTES)
                self._recorder.insert_events([stored])
                counts[number] += now >= warm_at

        _in_threads(submitters, submit)
        return sum(counts) / seconds


def _in_threads(count: int, run: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
