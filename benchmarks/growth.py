"""Whether reads and appends stay as fast when log and read models are a hundred times as long."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import psycopg

from benchmarks.figures import Figure, Machine, Options, Run, figure
from benchmarks.ground import Ground, ground
from benchmarks.history import NOON
from benchmarks.projections import catch_up, written
from domain.catalogue import EVENTS, UPCASTERS
from domain.events import Origin, StreamAppend
from domain.ids import TenantId, TransactionId
from domain.transaction import TransactionRelayed
from infrastructure.clock import SystemClock
from infrastructure.database import APP_ROLE, Pool, pool, tenant_scope
from infrastructure.edge.listeners import new_event_loop
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.event_log.mapper import EventMapper
from infrastructure.ids import RandomIds
from interfaces.process import spare_what_stays
from projections import audit, transactions

EVENTS_PER_SECOND: Final = 4_000
"""How long the long log is, for each second that was asked for."""

SHORTER: Final = 100
AT_ONCE: Final = 32
STREAMS: Final = 2_000
ONE_SIDE_S: Final = 1.0
"""Appends make the short log longer, so they are measured for a moment only."""

Stream = tuple[TenantId, TransactionId]
Act = Callable[[], Awaitable[object]]


def growth(options: Options) -> Figure:
    """Appends, loads of streams and queries of read models, on a long log and on a short one."""
    machine = Machine()
    events = options.events or max(2_000, int(EVENTS_PER_SECOND * options.seconds))
    with ground() as place:
        long = _shown(place, "long", events)
        short = _shown(place, "short", max(200, events // SHORTER))
        rounds = [
            {name: _on_a_copy(place, name, options) for name in ("short", "long")}
            for _ in range(options.rounds)
        ]
    others: dict[str, Any] = {"events": {"ours": long, "baseline": short}}
    for what in ("loads", "pages"):
        runs = [Run(ours=each["long"][what], baseline=each["short"][what]) for each in rounds]
        found = figure(what, f"{what}/s", runs, machine)
        others[what] = {"ours": found.ours, "baseline": found.baseline, "ratio": found.ratio}
    appends = [
        Run(ours=each["long"]["appends"], baseline=each["short"]["appends"]) for each in rounds
    ]
    return figure("growth", "appends/s", appends, machine, others)


def _shown(place: Ground, name: str, events: int) -> int:
    """A database with so many events in the log and in every read model, at rest."""
    end = written(place, name, events)
    dsn = place.dsn(name)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(catch_up(dsn, end))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
    return end


def _on_a_copy(place: Ground, template: str, options: Options) -> dict[str, float]:
    dsn = place.database("grown", template=template)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        found = runner.run(_measured(dsn, min(options.seconds, ONE_SIDE_S)))
    place.drop("grown")
    return found


async def _measured(dsn: str, seconds: float) -> dict[str, float]:
    log = await PostgresEventLog.open(dsn, EventMapper(EVENTS, UPCASTERS))
    reads = pool(dsn, APP_ROLE)
    try:
        await reads.open(wait=True)
        streams = _streams(dsn)
        await _warm(log, streams)
        spare_what_stays()
        return {
            "loads": await _per_second(_loading(log, streams), seconds),
            "pages": await _per_second(_listing(reads, streams), seconds),
            "appends": await _per_second(_appending(log), seconds),
        }
    finally:
        await reads.close()
        await log.close()


async def _per_second(act: Act, seconds: float) -> float:
    """How often `AT_ONCE` tasks do it in a second, after a quarter of the time to warm up."""
    warm_at = time.perf_counter() + seconds / 4
    ends_at = warm_at + seconds
    done = 0

    async def repeat() -> None:
        nonlocal done
        while (began := time.perf_counter()) < ends_at:
            await act()
            done += began >= warm_at

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(repeat())
    return done / seconds


def _appending(log: PostgresEventLog) -> Act:
    ids = RandomIds(SystemClock())
    tenant_id = TenantId(ids.uuid())
    event = TransactionRelayed(relayed_at=NOON)

    async def append() -> None:
        origin = Origin(actor="system:benchmark", correlation_id=ids.uuid(), command_id=ids.uuid())
        part = StreamAppend(
            tenant_id=tenant_id, stream_id=ids.uuid(), expected_version=0, events=[event]
        )
        await log.append(origin, [part])

    return append


async def _warm(log: PostgresEventLog, streams: Sequence[Stream]) -> None:
    """Have the server read what will be asked of it: a copy of a database begins with nothing in
    memory, and the long one's share of that first reading would be counted as the log's length."""
    for tenant_id, stream_id in streams:
        await log.load(tenant_id, stream_id)


def _loading(log: PostgresEventLog, streams: Sequence[Stream]) -> Act:
    async def load() -> None:
        tenant_id, stream_id = random.choice(streams)  # noqa: S311
        assert await log.load(tenant_id, stream_id)

    return load


def _listing(reads: Pool, streams: Sequence[Stream]) -> Act:
    """One transaction by its id, the newest page of transactions, the newest page of the audit."""

    async def ask() -> None:
        tenant_id, transaction_id = random.choice(streams)  # noqa: S311
        async with tenant_scope(reads, tenant_id) as connection:
            assert await transactions.by_id(connection, tenant_id, transaction_id)
            assert (await transactions.by_tenant(connection, tenant_id, limit=20)).rows
            assert (await audit.by_tenant(connection, tenant_id, limit=20)).rows

    return ask


def _streams(dsn: str) -> Sequence[Stream]:
    """Some transactions, of every age."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            "SELECT tenant_id, transaction_id FROM read_models.transactions "
            "ORDER BY random() LIMIT %s",
            (STREAMS,),
        ).fetchall()
