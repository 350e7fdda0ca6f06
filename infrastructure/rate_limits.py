"""Budgets of so many hits per so many seconds, counted in Redis for all processes together.

Both limiters count with a sliding window of two counters: the hits of the running window, plus
those of the window before it, weighted by how much of it the last `per_s` seconds still cover.
A burst is held to exactly `limit`. The weighting assumes that the earlier hits were spread
evenly: after a burst at the very end of a window, the `per_s` seconds around the seam can see
up to twice the limit, and over any longer time the rate holds.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import structlog
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from application.ports import Digests

T = TypeVar("T")

PATIENCE_S: Final = 0.25
"""A Redis that has not answered a hit by then is away."""

AWAY_FOR_S: Final = 1.0
"""After a failure, how long Redis is left alone before one hit tries it again."""

_WINDOWS_MAX: Final = 100_000

log: Final = structlog.stdlib.get_logger(__name__)


class InProcessRateLimiter:
    """`RateLimiter` for a single process, and the stand-in while Redis is away.

    Memory is bounded: beyond 100,000 keys of one budget those of its windows that started first
    are forgotten. No budget loses windows to another, so that whoever can choose keys, such as
    addresses, cannot wash away a budget that all share.
    """

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        windows_max: int = _WINDOWS_MAX,
    ) -> None:
        self._monotonic = monotonic
        self._windows_max = windows_max
        self._budgets: dict[tuple[str, int], dict[str, _Window]] = {}

    async def hit(self, budget: str, key: str, *, limit: int, per_s: int, cost: int = 1) -> bool:
        """Count it and say whether it is within the budget; a refused hit is not counted."""
        window = self._window(budget, key, per_s)
        within = window.weight(self._monotonic(), per_s) < limit - cost + 1
        window.current += cost if within else 0
        return within

    async def room(self, budget: str, key: str, *, limit: int, per_s: int) -> bool:
        """Whether one more would be within the budget, without counting it."""
        return self._window(budget, key, per_s).weight(self._monotonic(), per_s) < limit

    async def left(self, budget: str, key: str, *, limit: int, per_s: int) -> int:
        """How much of the budget is left, without counting anything."""
        weight = self._window(budget, key, per_s).weight(self._monotonic(), per_s)
        return max(0, limit - int(weight))

    def _window(self, budget: str, key: str, per_s: int) -> "_Window":
        now = self._monotonic()
        windows = self._budgets.setdefault((budget, per_s), {})
        window = windows.get(key)
        if window is None or now >= window.started_at + 2 * per_s:
            windows.pop(key, None)
            while len(windows) >= self._windows_max:
                del windows[next(iter(windows))]
            window = windows[key] = _Window(now)
        elif now >= window.started_at + per_s:
            window.started_at += per_s
            window.previous, window.current = window.current, 0
        return window


class _Window:
    """The hits since `started_at`, and those of the window that ended there."""

    __slots__ = ("current", "previous", "started_at")

    def __init__(self, started_at: float) -> None:
        self.started_at = started_at
        self.current = 0
        self.previous = 0

    def weight(self, now: float, per_s: int) -> float:
        """About how many hits the last `per_s` seconds saw."""
        covered = 1 - (now - self.started_at) / per_s
        return self.previous * covered + self.current


class RedisRateLimiter:
    """`RateLimiter` over one Redis for all processes; close with `close`.

    Redis sees keyed digests only: what a budget is counted by may be a person's mobile. While
    Redis is away, each process counts by itself to half the limit (at least 1); that is logged
    once when it begins and once when it ends, and no caller ever gets an exception.
    """

    def __init__(
        self,
        url: str,
        digests: Digests,
        *,
        connections_max: int = 8,
        patience_s: float = PATIENCE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._digests = digests
        self._monotonic = monotonic
        self._stand_in = InProcessRateLimiter(monotonic=monotonic)
        self._away_until: float | None = None
        # One immediate retry, only for a cut connection: an idle one may have died with a
        # Redis that is back. A time-out is not retried, the hit may have been counted.
        self._connections = BlockingConnectionPool.from_url(
            url,
            max_connections=connections_max,
            timeout=2 * patience_s,
            socket_connect_timeout=patience_s,
            socket_timeout=patience_s,
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        )
        # The storage wants a URL to know the kind of server; what it uses is the pool.
        options: dict[str, Any] = {"connection_pool": self._connections}
        storage = RedisStorage(
            "async+redis://", implementation="redispy", key_prefix="link:budget", **options
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)

    async def hit(self, budget: str, key: str, *, limit: int, per_s: int, cost: int = 1) -> bool:
        """Count `cost` and say whether it is within the budget; atomic across processes."""
        within = await self._ask(
            lambda item, name: self._limiter.hit(item, name, cost=cost), budget, key, limit, per_s
        )
        if within is None:
            half = _half(limit)
            return await self._stand_in.hit(budget, key, limit=half, per_s=per_s, cost=cost)
        return within

    async def room(self, budget: str, key: str, *, limit: int, per_s: int) -> bool:
        """Whether one more would be within the budget, without counting it."""
        within = await self._ask(self._limiter.test, budget, key, limit, per_s)
        if within is None:
            return await self._stand_in.room(budget, key, limit=_half(limit), per_s=per_s)
        return within

    async def left(self, budget: str, key: str, *, limit: int, per_s: int) -> int:
        """How much of the budget is left, without counting anything."""
        stats = await self._ask(self._limiter.get_window_stats, budget, key, limit, per_s)
        if stats is None:
            return await self._stand_in.left(budget, key, limit=_half(limit), per_s=per_s)
        return stats.remaining

    async def warn_of_eviction(self) -> None:
        """Say once in the log when this Redis would forget budgets under pressure.

        It must not evict: the budget of all pairings is one key among those of every address.
        A full Redis that refuses to write is as one that is away: each process then counts for
        itself. A Redis that is away now, or does not tell, is not waited for.
        """
        try:
            async with Redis(connection_pool=self._connections) as redis:
                memory = await redis.info("memory")
        except (RedisError, OSError) as error:
            log.warning("redis_policy_unknown", error=type(error).__name__)
            return
        policy = str(memory.get("maxmemory_policy", "unknown"))
        if memory.get("maxmemory", 0) and policy != "noeviction":
            log.warning("redis_may_forget_budgets", policy=policy)

    async def close(self) -> None:
        """Close the connections; the limiter is of no use afterwards."""
        await self._connections.aclose()

    async def _ask(
        self,
        question: Callable[[RateLimitItem, str], Awaitable[T]],
        budget: str,
        key: str,
        limit: int,
        per_s: int,
    ) -> T | None:
        """What Redis says; None while it is away."""
        if self._away_until is not None:
            if self._monotonic() < self._away_until:
                return None
            # This call tries; the others stay away until it knows.
            self._away_until = self._monotonic() + AWAY_FOR_S
        item = RateLimitItemPerSecond(limit, per_s, namespace=budget)
        try:
            within = await question(item, self._digests.digest("rate_limit", key))
        except (RedisError, OSError) as error:
            self._gone(type(error).__name__)
            return None
        self._back()
        return within

    def _gone(self, reason: str) -> None:
        if self._away_until is None:
            log.warning("rate_limits_in_process", reason=reason)
        self._away_until = self._monotonic() + AWAY_FOR_S

    def _back(self) -> None:
        if self._away_until is not None:
            self._away_until = None
            log.info("rate_limits_in_redis")


def _half(limit: int) -> int:
    return max(1, limit // 2)
