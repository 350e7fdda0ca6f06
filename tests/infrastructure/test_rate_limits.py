"""Budgets hold across processes, and half of them holds while Redis is away."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import parse_url
from structlog.testing import capture_logs

from application.ports import RateLimiter
from infrastructure.keys.keyring import Keyring
from infrastructure.rate_limits import AWAY_FOR_S, InProcessRateLimiter, RedisRateLimiter

KEYRING = Keyring(bytes(32))
PATIENT_S = 30.0
"""For tests of what is counted: a machine that stands still is no Redis that is away."""


class Ticking:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_url)
    await client.flushdb()
    yield client
    await client.flushdb()
    await client.aclose()


@pytest.fixture
async def limiter(redis: Redis, redis_url: str) -> AsyncIterator[RedisRateLimiter]:
    opened = RedisRateLimiter(redis_url, KEYRING, patience_s=PATIENT_S)
    yield opened
    await opened.close()


async def allowed(limiter: RateLimiter, hits: int, *, limit: int, key: str = "key") -> int:
    return sum([await limiter.hit("budget", key, limit=limit, per_s=60) for _ in range(hits)])


async def spent_by_four_processes(redis_url: str, limiter: str) -> int:
    """How many of 4 x 50 hits at once a limiter lets through a budget of 100."""
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.infrastructure.rate_limit_process"),
            *(limiter, redis_url, "50", "100"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    answers = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    return sum(int(out) for out, _ in answers)


async def test_four_processes_of_fifty_hits_share_one_budget_of_a_hundred(
    redis: Redis, redis_url: str
) -> None:
    """Exactly: within one window nothing is estimated."""
    assert await spent_by_four_processes(redis_url, "ours") == 100


async def test_the_four_processes_catch_a_check_that_is_not_the_count(
    redis: Redis, redis_url: str
) -> None:
    assert await spent_by_four_processes(redis_url, "check_then_set") > 100


async def test_budgets_and_keys_are_counted_apart(limiter: RedisRateLimiter) -> None:
    assert await allowed(limiter, 3, limit=2) == 2
    assert await allowed(limiter, 3, limit=2, key="another") == 2
    assert await limiter.hit("another budget", "key", limit=2, per_s=60) is True


async def test_looking_for_room_counts_nothing(limiter: RedisRateLimiter) -> None:
    both: tuple[RateLimiter, ...] = (InProcessRateLimiter(), limiter)
    for one in both:
        for _ in range(3):
            assert await one.room("budget", "key", limit=2, per_s=60) is True
        assert await allowed(one, 3, limit=2) == 2
        assert await one.room("budget", "key", limit=2, per_s=60) is False
        assert await one.room("budget", "another", limit=2, per_s=60) is True


async def test_redis_holds_digests_that_expire(limiter: RedisRateLimiter, redis: Redis) -> None:
    await limiter.hit("signup_mobile", "+966500000001", limit=3, per_s=900)
    keys = await redis.keys("*")
    assert len(keys) == 1
    name = str(keys[0])
    assert "signup_mobile" in name
    assert "966500000001" not in name
    assert 0 < await redis.pttl(keys[0]) <= 2 * 900 * 1000


class Cut:
    """A way to Redis that can be cut and mended, and that can go silent."""

    def __init__(self, redis_url: str) -> None:
        self._target = parse_url(redis_url)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.silent = False

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        inner_reader, inner_writer = await self._connect()
        try:
            await asyncio.gather(self._pump(reader, inner_writer), self._pump(inner_reader, writer))
        except (asyncio.CancelledError, ConnectionError):
            return
        finally:
            self._tasks.discard(task)
            for each in (writer, inner_writer):
                each.close()
                with contextlib.suppress(ConnectionError):
                    await each.wait_closed()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if "path" in self._target:
            return await asyncio.open_unix_connection(self._target["path"])
        return await asyncio.open_connection(
            self._target.get("host", "127.0.0.1"), self._target.get("port", 6379)
        )

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while chunk := await source.read(65_536):
            if not self.silent:
                sink.write(chunk)
                await sink.drain()
        sink.close()


@pytest.fixture
async def cut(redis: Redis, redis_url: str) -> AsyncIterator[Cut]:
    way = Cut(redis_url)
    await way.mend()
    yield way
    await way.cut()


async def test_without_redis_half_the_budget_is_counted_here_and_said_once(cut: Cut) -> None:
    clock = Ticking()
    limiter = RedisRateLimiter(f"redis://127.0.0.1:{cut.port}", KEYRING, monotonic=clock)
    with capture_logs() as logs:
        assert await allowed(limiter, 1, limit=10) == 1
        await cut.cut()
        assert await allowed(limiter, 20, limit=10) == 5
        clock.at += AWAY_FOR_S
        assert await allowed(limiter, 20, limit=10) == 0
        assert await limiter.room("budget", "key", limit=10, per_s=60) is False
    assert [entry["event"] for entry in logs] == ["rate_limits_in_process"]
    await limiter.close()


async def test_a_budget_of_one_stays_one_without_redis(cut: Cut) -> None:
    await cut.cut()
    limiter = RedisRateLimiter(f"redis://127.0.0.1:{cut.port}", KEYRING)
    assert await allowed(limiter, 3, limit=1) == 1
    await limiter.close()


async def test_the_budget_in_redis_is_back_as_soon_as_redis_is(cut: Cut) -> None:
    clock = Ticking()
    limiter = RedisRateLimiter(f"redis://127.0.0.1:{cut.port}", KEYRING, monotonic=clock)
    assert await allowed(limiter, 7, limit=10) == 7
    await cut.cut()
    with capture_logs() as logs:
        assert await allowed(limiter, 1, limit=10) == 1
        await cut.mend()
        clock.at += AWAY_FOR_S
        assert await allowed(limiter, 20, limit=10) == 3
    assert [entry["event"] for entry in logs] == ["rate_limits_in_process", "rate_limits_in_redis"]
    await limiter.close()


async def test_a_redis_that_is_back_before_anybody_noticed_is_used_at_once(cut: Cut) -> None:
    limiter = RedisRateLimiter(f"redis://127.0.0.1:{cut.port}", KEYRING, patience_s=PATIENT_S)
    with capture_logs() as logs:
        assert await allowed(limiter, 4, limit=10) == 4
        await cut.cut()
        await cut.mend()
        assert await allowed(limiter, 10, limit=10) == 6
    assert logs == []
    await limiter.close()


async def test_a_redis_that_is_silent_holds_up_one_hit_and_not_each(cut: Cut) -> None:
    """Four hundred hits one after another, with a quarter of a second to wait for an answer."""
    limiter = RedisRateLimiter(f"redis://127.0.0.1:{cut.port}", KEYRING, monotonic=Ticking())
    cut.silent = True
    async with asyncio.timeout(60):
        assert await allowed(limiter, 400, limit=10) == 5
    await limiter.close()


async def test_both_limiters_hold_a_burst_to_exactly_the_limit(limiter: RedisRateLimiter) -> None:
    both: tuple[RateLimiter, ...] = (InProcessRateLimiter(), limiter)
    for one in both:
        hits = (one.hit("burst", "key", limit=10, per_s=60) for _ in range(50))
        assert sum(await asyncio.gather(*hits)) == 10
        assert await one.hit("nothing", "key", limit=0, per_s=60) is False


async def test_the_window_before_weighs_what_is_still_covered_of_it() -> None:
    clock = Ticking()
    limiter = InProcessRateLimiter(monotonic=clock)
    assert await allowed(limiter, 20, limit=10) == 10
    clock.at += 60
    assert await allowed(limiter, 20, limit=10) == 0
    clock.at += 30
    assert await allowed(limiter, 20, limit=10) == 5
    clock.at += 90
    assert await allowed(limiter, 20, limit=10) == 10


async def test_a_refused_hit_is_not_counted() -> None:
    clock = Ticking()
    limiter = InProcessRateLimiter(monotonic=clock)
    await allowed(limiter, 500, limit=10)
    clock.at += 90
    assert await allowed(limiter, 20, limit=10) == 5


async def test_memory_is_bounded_by_forgetting_what_began_first() -> None:
    limiter = InProcessRateLimiter(windows_max=3)
    for key in ("first", "second", "third", "fourth"):
        assert await allowed(limiter, 2, limit=1, key=key) == 1
    assert await allowed(limiter, 1, limit=1, key="fourth") == 0
    assert await allowed(limiter, 1, limit=1, key="first") == 1


async def test_a_flood_of_keys_does_not_wash_away_a_budget_that_all_share() -> None:
    """With one table for all, four addresses gave the platform its failures back."""
    limiter = InProcessRateLimiter(windows_max=3)
    assert await limiter.hit("failures", "platform", limit=1, per_s=60)
    for address in ("first", "second", "third", "fourth"):
        await limiter.hit("address", address, limit=1, per_s=60)
    assert not await limiter.room("failures", "platform", limit=1, per_s=60)


async def test_a_redis_that_would_forget_budgets_is_told_of(
    redis: Redis, limiter: RedisRateLimiter
) -> None:
    before = await redis.config_get("maxmemory*")
    try:
        await redis.config_set("maxmemory", "64mb")
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        with capture_logs() as told:
            await limiter.warn_of_eviction()
        assert [(line["event"], line["policy"]) for line in told] == [
            ("redis_may_forget_budgets", "allkeys-lru")
        ]
        await redis.config_set("maxmemory-policy", "noeviction")
        with capture_logs() as told:
            await limiter.warn_of_eviction()
        assert told == []
    finally:
        for name in ("maxmemory", "maxmemory-policy"):
            await redis.config_set(name, str(before[name]))


async def test_a_redis_that_is_away_does_not_keep_anybody_from_starting() -> None:
    limiter = RedisRateLimiter("redis://127.0.0.1:1/0", KEYRING)
    with capture_logs() as told:
        await limiter.warn_of_eviction()
    assert [line["event"] for line in told] == ["redis_policy_unknown"]
    await limiter.close()
