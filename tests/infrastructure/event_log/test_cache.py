"""A kept state is never older than what the tail has told."""

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from application.ports import Appended
from domain.events import Origin, Recorded, StreamAppend
from domain.ids import TenantId
from infrastructure.event_log.cache import Load, StreamCache
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.event_log.tail import Tail
from tests.infrastructure.event_log.notes import MAPPER, A, B, Noted, notes, origin, texts

STREAM = UUID("0198c000-0000-7000-8000-0000000000fe")


class FakeTail:
    """Delivers what a test tells it to, and is as fresh as a test says."""

    def __init__(self) -> None:
        self.is_fresh = True
        self._subscribers: list[Callable[[Sequence[Recorded]], None]] = []

    def fresh(self, within_s: float) -> bool:
        return self.is_fresh and within_s > 0

    def subscribe(self, subscriber: Callable[[Sequence[Recorded]], None]) -> None:
        self._subscribers.append(subscriber)

    def deliver(self, *events: Recorded) -> None:
        for subscriber in self._subscribers:
            subscriber(events)


class FakeLog:
    """Streams in memory. With `gate`, a load reads, and answers when the gate lets it."""

    def __init__(self) -> None:
        self.streams: dict[tuple[UUID, UUID], list[Recorded]] = {}
        self.loads = 0
        self.reading = asyncio.Event()
        self.gate: asyncio.Semaphore | None = None

    def commit(self, text: str, stream_id: UUID = STREAM, tenant_id: TenantId = A) -> Recorded:
        stream = self.streams.setdefault((tenant_id, stream_id), [])
        recorded = Recorded(
            position=sum(map(len, self.streams.values())) + 1,
            tenant_id=tenant_id,
            stream_id=stream_id,
            version=len(stream) + 1,
            event=Noted(text=text),
            actor="system:test",
            correlation_id=uuid4(),
            command_id=uuid4(),
            recorded_at=datetime(2026, 3, 1, tzinfo=UTC),
        )
        stream.append(recorded)
        return recorded

    async def load(self, tenant_id: TenantId, stream_id: UUID) -> Sequence[Recorded]:
        self.loads += 1
        self.reading.set()
        found = list(self.streams.get((tenant_id, stream_id), ()))
        if self.gate is not None:
            await self.gate.acquire()
        return found

    async def append(self, origin: Origin, appends: Sequence[StreamAppend]) -> Appended:
        del origin
        last = 0
        for part in appends:
            for event in part.events:
                assert isinstance(event, Noted)
                last = self.commit(event.text, part.stream_id, part.tenant_id).position
        return Appended(first_position=last, last_position=last)


class CarelessCache(StreamCache):
    """The planted bug: keeps what it loaded although the stream moved on meanwhile."""

    def _may_keep(self, load: Load) -> bool:
        load.overtaken = False
        return super()._may_keep(load)


@pytest.fixture
def tail() -> FakeTail:
    return FakeTail()


@pytest.fixture
def fake_log() -> FakeLog:
    return FakeLog()


async def test_a_hot_stream_is_loaded_once(fake_log: FakeLog, tail: FakeTail) -> None:
    cache = StreamCache(fake_log, tail)
    fake_log.commit("one")
    for _ in range(5):
        assert await cache.state(A, STREAM, texts) == ["one"]
    assert fake_log.loads == 1
    tail.deliver(fake_log.commit("two"))
    assert await cache.state(A, STREAM, texts) == ["one", "two"]
    assert fake_log.loads == 2


async def test_what_is_appended_through_the_cache_is_read_at_once(
    fake_log: FakeLog, tail: FakeTail
) -> None:
    """Without `forget` in `append`, this reads ["one"] until the tail comes along."""
    cache = StreamCache(fake_log, tail)
    fake_log.commit("one")
    assert await cache.state(A, STREAM, texts) == ["one"]
    part = StreamAppend(
        tenant_id=A, stream_id=STREAM, expected_version=1, events=[Noted(text="two")]
    )
    await cache.append(origin(), [part])
    assert await cache.state(A, STREAM, texts) == ["one", "two"]


async def test_another_fold_of_the_same_stream_is_another_state(
    fake_log: FakeLog, tail: FakeTail
) -> None:
    cache = StreamCache(fake_log, tail)
    fake_log.commit("one")
    assert await cache.state(A, STREAM, texts) == ["one"]
    assert await cache.state(A, STREAM, len) == 1
    assert await cache.state(A, STREAM, texts) == ["one"]
    assert fake_log.loads == 2
    tail.deliver(fake_log.commit("two"))
    assert await cache.state(A, STREAM, len) == 2


async def test_while_the_tail_is_not_fresh_every_state_is_loaded(
    fake_log: FakeLog, tail: FakeTail
) -> None:
    cache = StreamCache(fake_log, tail)
    assert await cache.state(A, STREAM, texts) == []
    tail.is_fresh = False
    fake_log.commit("one")  # nobody tells
    assert await cache.state(A, STREAM, texts) == ["one"]
    fake_log.commit("two")
    assert await cache.state(A, STREAM, texts) == ["one", "two"]


async def test_what_was_loaded_without_a_tail_is_not_kept(
    fake_log: FakeLog, tail: FakeTail
) -> None:
    cache = StreamCache(fake_log, tail)
    tail.is_fresh = False
    assert await cache.state(A, STREAM, texts) == []
    fake_log.commit("one")  # the tail starts after this event and never tells of it
    tail.is_fresh = True
    assert await cache.state(A, STREAM, texts) == ["one"]


async def test_an_absent_stream_is_kept_until_it_begins(fake_log: FakeLog, tail: FakeTail) -> None:
    cache = StreamCache(fake_log, tail)
    for _ in range(3):
        assert await cache.state(A, STREAM, texts) == []
    assert fake_log.loads == 1
    tail.deliver(fake_log.commit("born"))
    assert await cache.state(A, STREAM, texts) == ["born"]


async def test_a_stream_is_kept_per_tenant(fake_log: FakeLog, tail: FakeTail) -> None:
    cache = StreamCache(fake_log, tail)
    fake_log.commit("ours")
    assert await cache.state(A, STREAM, texts) == ["ours"]
    assert await cache.state(B, STREAM, texts) == []


async def test_what_is_forgotten_is_loaded_again(fake_log: FakeLog, tail: FakeTail) -> None:
    cache = StreamCache(fake_log, tail)
    await cache.state(A, STREAM, texts)
    fake_log.commit("ours, and the tail is late")
    cache.forget(A, STREAM)
    assert len(await cache.state(A, STREAM, texts)) == 1


async def test_the_least_recently_used_goes_first(fake_log: FakeLog, tail: FakeTail) -> None:
    cache = StreamCache(fake_log, tail, streams_max=2)
    first, second, third = uuid4(), uuid4(), uuid4()
    for stream in (first, second, first, third, first):
        await cache.state(A, stream, texts)
    assert fake_log.loads == 3
    await cache.state(A, second, texts)
    assert fake_log.loads == 4


async def test_long_streams_take_the_place_of_many(fake_log: FakeLog, tail: FakeTail) -> None:
    """A state grows with its stream, so the number of streams alone bounds nothing."""
    cache = StreamCache(fake_log, tail, events_max=5)
    long, short = uuid4(), uuid4()
    for text in ("one", "two", "three", "four"):
        fake_log.commit(text, long)
    fake_log.commit("one", short)
    for stream, loads in ((short, 1), (long, 2), (short, 2), (long, 2)):
        await cache.state(A, stream, texts)
        assert fake_log.loads == loads
    tail.deliver(fake_log.commit("two", short))
    for stream, loads in ((short, 3), (short, 3), (long, 4)):
        await cache.state(A, stream, texts)
        assert fake_log.loads == loads


async def test_a_load_that_fails_is_not_kept(tail: FakeTail) -> None:
    class Broken(FakeLog):
        async def load(self, tenant_id: TenantId, stream_id: UUID) -> Sequence[Recorded]:
            if self.loads == 0:
                self.loads += 1
                raise TimeoutError
            return await super().load(tenant_id, stream_id)

    log = Broken()
    cache = StreamCache(log, tail)
    with pytest.raises(TimeoutError):
        await cache.state(A, STREAM, texts)
    log.commit("one")
    assert await cache.state(A, STREAM, texts) == ["one"]


async def overtaken(cache: StreamCache, log: FakeLog, tail: FakeTail) -> list[str]:
    """A load reads; the stream moves on and the tail tells; then the load answers."""
    log.gate = asyncio.Semaphore(0)
    slow = asyncio.create_task(cache.state(A, STREAM, texts))
    await log.reading.wait()
    tail.deliver(log.commit("newer"))
    log.gate.release()
    await slow
    log.gate = None
    return await cache.state(A, STREAM, texts)


async def test_a_load_that_was_overtaken_is_not_kept(fake_log: FakeLog, tail: FakeTail) -> None:
    assert await overtaken(StreamCache(fake_log, tail), fake_log, tail) == ["newer"]


async def test_a_careless_cache_would_keep_it(fake_log: FakeLog, tail: FakeTail) -> None:
    """The planted bug is seen."""
    assert await overtaken(CarelessCache(fake_log, tail), fake_log, tail) == []


async def wrong_answers(kind: type[StreamCache], seed: int) -> int:
    """A random schedule of commits, deliveries, loads and their answers over two streams.

    Whenever all that is committed was delivered and no load is in flight, both states must be
    what is committed. Counts the states that are not.
    """
    choices = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    log, tail = FakeLog(), FakeTail()
    cache = kind(log, tail, streams_max=choices.choice([1, 8]))
    streams = [uuid4(), uuid4()]
    undelivered: list[Recorded] = []
    wrong = 0
    for _ in range(12):
        log.gate = asyncio.Semaphore(0)
        in_flight: list[asyncio.Task[list[str]]] = []
        for _ in range(choices.randrange(1, 8)):
            match choices.randrange(5):
                case 0 | 1:
                    stream = choices.choice(streams)
                    in_flight.append(asyncio.create_task(cache.state(A, stream, texts)))
                case 2:
                    undelivered.append(log.commit(str(choices.random()), choices.choice(streams)))
                case 3:
                    tail.deliver(*undelivered)
                    undelivered.clear()
                case _:
                    log.gate.release()
            await asyncio.sleep(0)
        for _ in in_flight:
            log.gate.release()
        await asyncio.gather(*in_flight)
        tail.deliver(*undelivered)
        undelivered.clear()
        log.gate = None
        for stream in streams:
            committed = texts(log.streams.get((A, stream), ()))
            wrong += await cache.state(A, stream, texts) != committed
    return wrong


async def test_no_schedule_leaves_an_old_state_behind() -> None:
    assert [await wrong_answers(StreamCache, seed) for seed in range(150)] == [0] * 150


async def test_the_same_schedules_catch_the_careless_cache() -> None:
    """The planted bug is seen."""
    assert any([await wrong_answers(CarelessCache, seed) for seed in range(150)])


async def test_over_a_real_log_another_process_is_seen_as_soon_as_the_tail_tells(
    log: PostgresEventLog, database: str
) -> None:
    other = await PostgresEventLog.open(database, MAPPER)
    tail = Tail(database, MAPPER)
    cache = StreamCache(log, tail)
    await tail.start()
    try:
        stream = uuid4()
        for number in range(10):
            appended = await other.append(origin(), [notes(stream, number, str(number))])
            assert await tail.wait_for(appended.last_position, 20)
            expected = [str(done) for done in range(number + 1)]
            assert await cache.state(A, stream, texts) == expected
            assert await cache.state(A, stream, texts) is await cache.state(A, stream, texts)
    finally:
        await tail.close()
        await other.close()
