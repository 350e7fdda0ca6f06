"""The tail tells everything once, in order, whatever happens to its connection."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import psycopg
import pytest

from domain.events import Recorded, StreamAppend
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.event_log.mapper import EventMapper, UnknownEvent
from infrastructure.event_log.positions import LogGap, page
from infrastructure.event_log.tail import Tail, caught_up
from tests.infrastructure.event_log.fault_proxy import FaultProxy
from tests.infrastructure.event_log.notes import MAPPER, A, Noted, Struck, notes, origin
from tests.infrastructure.event_log.test_lost_connection import BACKENDS

PATIENCE_S = 20.0


class Heard:
    """A subscriber that keeps the positions it was told."""

    def __init__(self) -> None:
        self.positions: list[int] = []

    def __call__(self, events: Sequence[Recorded]) -> None:
        self.positions += [event.position for event in events]


class StoppedClock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@asynccontextmanager
async def following(
    dsn: str,
    *subscribers: Callable[[Sequence[Recorded]], None],
    mapper: EventMapper = MAPPER,
    after: int | None = None,
    poll_s: float = 0.05,
    monotonic: Callable[[], float] = time.monotonic,
) -> AsyncGenerator[Tail]:
    tail = Tail(dsn, mapper, after=after, poll_s=poll_s, monotonic=monotonic)
    for subscriber in subscribers:
        tail.subscribe(subscriber)
    await tail.start()
    try:
        yield tail
    finally:
        await tail.close()


async def test_from_the_beginning_everything_is_told_in_order(
    log: PostgresEventLog, database: str
) -> None:
    """More than two pages."""
    for _ in range(3):
        await log.append(origin(), [notes(uuid4(), 0, *(["x"] * 400))])
    heard = Heard()
    async with following(database, heard, after=0) as tail:
        assert await tail.wait_for(1200, PATIENCE_S)
        assert tail.position == 1200
    assert heard.positions == list(range(1, 1201))


async def test_from_now_on_only_what_is_new_is_told(log: PostgresEventLog, database: str) -> None:
    await log.append(origin(), [notes(uuid4(), 0, "old", "older")])
    heard = Heard()
    async with following(database, heard) as tail:
        assert tail.position == 2
        assert await tail.wait_for(2, 0)
        await log.append(origin(), [notes(uuid4(), 0, "new")])
        assert await tail.wait_for(3, PATIENCE_S)
    assert heard.positions == [3]


async def test_a_notification_brings_an_event_before_the_next_poll(
    log: PostgresEventLog, database: str
) -> None:
    async with following(database, poll_s=600) as tail:
        for position in range(1, 4):
            await log.append(origin(), [notes(uuid4(), 0, "x")])
            assert await tail.wait_for(position, PATIENCE_S)


async def test_without_notifications_polling_brings_everything(
    log: PostgresEventLog, database: str
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        row = connection.execute("SELECT pg_get_functiondef('append_events'::regproc)").fetchone()
        assert row is not None
        silent = row[0].replace("PERFORM pg_notify", "PERFORM concat")
        assert silent != row[0]
        connection.execute(silent.encode())
    heard = Heard()
    async with following(database, heard) as tail:
        await log.append(origin(), [notes(uuid4(), 0, "x", "y")])
        assert await tail.wait_for(2, PATIENCE_S)
    assert heard.positions == [1, 2]


async def test_waiting_for_what_does_not_come_ends(database: str) -> None:
    async with following(database) as tail:
        assert not await tail.wait_for(1, 0.01)


async def test_killed_backends_make_it_skip_nothing(log: PostgresEventLog, database: str) -> None:
    heard = Heard()
    async with (
        following(database, heard) as tail,
        await psycopg.AsyncConnection.connect(database, autocommit=True) as killer,
    ):
        for _ in range(4):
            appends = [log.append(origin(), [notes(uuid4(), 0, "x", "y")]) for _ in range(25)]
            await asyncio.gather(killer.execute(BACKENDS), *appends)
        assert await tail.wait_for(200, PATIENCE_S)
    assert heard.positions == list(range(1, 201))


async def test_it_is_fresh_only_while_it_can_look(log: PostgresEventLog, database: str) -> None:
    clock = StoppedClock()
    async with FaultProxy(database) as proxy:
        async with following(proxy.dsn, monotonic=clock) as tail:
            await log.append(origin(), [notes(uuid4(), 0, "x")])
            assert await tail.wait_for(1, PATIENCE_S)
            proxy.refuse()
            clock.seconds += 0.9
            assert tail.fresh(1.0)
            clock.seconds += 0.2
            assert not tail.fresh(1.0)
            await log.append(origin(), [notes(uuid4(), 0, "y")])
            assert not await tail.wait_for(2, 0.1)
            proxy.accept()
            assert await tail.wait_for(2, PATIENCE_S)
            await log.append(origin(), [notes(uuid4(), 0, "z")])
            assert await tail.wait_for(3, PATIENCE_S)
            assert tail.fresh(1.0)
        assert not tail.fresh(1.0)


async def test_it_is_not_fresh_before_it_starts(database: str) -> None:
    assert not Tail(database, MAPPER).fresh(3600)


async def test_an_unknown_event_holds_it_and_nothing_is_skipped(
    log: PostgresEventLog, database: str
) -> None:
    """The process knows nothing of `test.struck`: it tells what stands before, and stays."""
    heard = Heard()
    clock = StoppedClock()
    async with following(
        database, heard, mapper=EventMapper({Noted.NAME: Noted}, {}), monotonic=clock
    ) as tail:
        struck = StreamAppend(
            tenant_id=A, stream_id=uuid4(), expected_version=0, events=[Struck(reason="typo")]
        )
        await log.append(origin(), [notes(uuid4(), 0, "before"), struck, notes(uuid4(), 0, "x")])
        assert await tail.wait_for(1, PATIENCE_S)
        assert not await tail.wait_for(2, 0.2)
        assert isinstance(tail.held, UnknownEvent)
        assert tail.held.name == "test.struck"
        clock.seconds += 2
        assert not tail.fresh(1.0)
    assert heard.positions == [1]


async def test_a_subscriber_that_raises_stops_it_where_it_stands(
    log: PostgresEventLog, database: str
) -> None:
    class Broken(Exception):
        pass

    def broken(events: Sequence[Recorded]) -> None:
        raise Broken

    tail = Tail(database, MAPPER)
    tail.subscribe(broken)
    await tail.start()
    await log.append(origin(), [notes(uuid4(), 0, "x")])
    assert not await tail.wait_for(1, 0.3)
    assert not tail.fresh(3600)
    with pytest.raises(Broken):
        await tail.close()


def test_a_missing_position_is_an_error_and_not_a_step() -> None:
    row = (3, uuid4(), uuid4(), 1, "test.noted", b'{"v":1,"data":{"text":"x"}}', "a", 0, 0, 0)
    assert page(MAPPER, [row], 2).last == 3
    with pytest.raises(LogGap, match="position 2 is missing"):
        page(MAPPER, [row], 1)


class FarBehind:
    """A tail that comes nearer by ten with every wait, and then stands."""

    def __init__(self, *, stands_at: int) -> None:
        self.position = 0
        self._stands_at = stands_at

    async def wait_for(self, position: int, timeout_s: float) -> bool:
        del timeout_s
        self.position = min(self.position + 10, self._stands_at)
        return self.position >= position


async def test_catching_up_may_take_any_time_while_it_moves() -> None:
    """A process whose read model lagged far once gave up after 30 s, and could never start."""
    tail = FarBehind(stands_at=10_000)
    await caught_up(tail, 10_000, standstill_s=0)
    assert tail.position == 10_000


async def test_a_tail_that_stands_still_is_given_up() -> None:
    with pytest.raises(TimeoutError, match="stands still at 50, before 100"):
        await caught_up(FarBehind(stands_at=50), 100, standstill_s=0)


async def test_a_start_that_fails_leaves_no_connection(database: str) -> None:
    """Its session stayed open before, where nobody could close it."""
    with psycopg.connect(database) as connection:
        connection.execute("REVOKE SELECT ON events FROM link_projector")
    tail = Tail(f"{database} application_name=a_tail_that_may_not", MAPPER)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await tail.start()
    async with (
        asyncio.timeout(PATIENCE_S),
        await psycopg.AsyncConnection.connect(database, autocommit=True) as watching,
    ):
        found: object = True
        while found:
            cursor = await watching.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'a_tail_that_may_not'"
            )
            found = await cursor.fetchall()
