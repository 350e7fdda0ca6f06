"""A line that is cut between commit and answer costs nobody an event, and nobody a conflict."""

import asyncio
from collections.abc import AsyncGenerator
from uuid import uuid4

import psycopg
import pytest

from application.ports import Appended, CommitFailed, StaleStream
from domain.errors import Unavailable
from infrastructure.event_log.log import PostgresEventLog
from tests.infrastructure.event_log.fault_proxy import FaultProxy
from tests.infrastructure.event_log.notes import MAPPER, A, notes, origin, texts

BACKENDS = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture
async def proxy(database: str) -> AsyncGenerator[FaultProxy]:
    async with FaultProxy(database) as running:
        yield running


@pytest.fixture
async def distant_log(proxy: FaultProxy) -> AsyncGenerator[PostgresEventLog]:
    opened = await PostgresEventLog.open(proxy.dsn, MAPPER)
    yield opened
    await opened.close()


async def test_a_lost_answer_is_neither_a_conflict_nor_a_duplicate(
    distant_log: PostgresEventLog, proxy: FaultProxy
) -> None:
    """The append is sent again and recognised, even when the second answer is lost as well."""
    stream = uuid4()
    await distant_log.append(origin(), [notes(stream, 0, "before")])
    proxy.lose_answers(1)
    appended = await distant_log.append(origin(), [notes(stream, 1, "once")])
    assert appended == Appended(first_position=2, last_position=2, replayed=True)
    assert proxy.lost == 1
    assert texts(await distant_log.load(A, stream)) == ["before", "once"]


async def test_a_batch_whose_answer_is_lost_is_sorted_out_again(
    distant_log: PostgresEventLog, proxy: FaultProxy
) -> None:
    taken = uuid4()
    await distant_log.append(origin(), [notes(taken, 0, "taken")])
    proxy.lose_answers(1)
    results = await asyncio.gather(
        *(distant_log.append(origin(), [notes(uuid4(), 0, "x")]) for _ in range(5)),
        distant_log.append(origin(), [notes(taken, 0, "late")]),
        return_exceptions=True,
    )
    appended = [result for result in results if isinstance(result, Appended)]
    assert [(result.first_position, result.replayed) for result in appended] == [
        (position, True) for position in range(2, 7)
    ]
    assert isinstance(results[-1], StaleStream)
    assert len(await distant_log.read(0, 100)) == 6


async def test_without_the_command_id_the_same_cut_reports_a_false_conflict(
    proxy: FaultProxy, database: str
) -> None:
    """The planted bug: the database forgets to compare commands."""
    with psycopg.connect(database, autocommit=True) as connection:
        row = connection.execute("SELECT pg_get_functiondef('append_events'::regproc)").fetchone()
        assert row is not None
        forgetful = row[0].replace("o.command_id = e.command", "o.command_id <> e.command")
        assert forgetful != row[0]
        connection.execute(forgetful.encode())
    log = await PostgresEventLog.open(proxy.dsn, MAPPER)
    try:
        stream = uuid4()
        await log.append(origin(), [notes(stream, 0, "before")])
        proxy.lose_answers(1)
        with pytest.raises(StaleStream):
            await log.append(origin(), [notes(stream, 1, "once")])
        assert texts(await log.load(A, stream)) == ["before", "once"]
    finally:
        await log.close()


async def test_killed_backends_lose_nothing_under_load(
    log: PostgresEventLog, database: str
) -> None:
    """Every backend of the log is terminated again and again while 32 tasks append."""
    acknowledged: list[int] = []
    appending = True
    progress = asyncio.Semaphore(0)

    async def submit() -> None:
        while appending:
            appended = await log.append(origin(), [notes(uuid4(), 0, "x", "y")])
            acknowledged.extend((appended.first_position, appended.last_position))
            progress.release()

    tasks = [asyncio.create_task(submit()) for _ in range(32)]
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as killer:
        for _ in range(5):
            for _ in range(100):
                await progress.acquire()
            await killer.execute(BACKENDS)
    appending = False
    await asyncio.gather(*tasks)
    stored = [recorded.position for recorded in await log.read(0, 1_000_000)]
    assert len(set(acknowledged)) == len(acknowledged)
    assert set(acknowledged) == set(stored)
    assert stored == list(range(1, len(stored) + 1))


async def test_an_outage_longer_than_the_deadline_is_said_and_then_over(
    proxy: FaultProxy,
) -> None:
    log = await PostgresEventLog.open(proxy.dsn, MAPPER, deadline_s=1.5)
    try:
        asked, stream = origin(), uuid4()
        proxy.refuse()
        with pytest.raises(CommitFailed):
            await log.append(asked, [notes(stream, 0, "x")])
        with pytest.raises(Unavailable) as raised:
            await log.load(A, stream)
        assert raised.value.code == "event_log_unavailable"
        proxy.accept()
        appended = await log.append(asked, [notes(stream, 0, "x")])
        assert (appended.first_position, appended.replayed) == (1, False)
    finally:
        await log.close()


async def test_a_server_that_hangs_is_given_up_at_the_deadline(database: str) -> None:
    """Somebody holds the append lock and does not let go."""
    log = await PostgresEventLog.open(database, MAPPER, deadline_s=1.5)
    try:
        async with await psycopg.AsyncConnection.connect(database) as holder:
            await holder.execute("SELECT pg_advisory_xact_lock(7310580)")
            with pytest.raises(CommitFailed):
                await log.append(origin(), [notes(uuid4(), 0, "x")])
            await holder.rollback()
        assert await log.append(origin(), [notes(uuid4(), 0, "x")])
    finally:
        await log.close()
