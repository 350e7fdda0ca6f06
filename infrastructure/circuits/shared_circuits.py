"""What processes tell each other of their circuits, through one Redis.

Of each circuit Redis holds where it stands, the calls of the last seconds in the order in which
they were told, and the two devices that called last. One script takes and gives all of it at once.
Where a circuit stands is replaced only by whoever knows what stands there: so a permit is taken
once, whoever else reaches for it. Nothing of this must be true: Redis may be emptied or go away.
"""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final
from uuid import UUID

import msgspec
import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from infrastructure.circuits.circuit_breaker import Settled, Standing

AWAY_FOR_S: Final = 1.0
"""After a failure, how long Redis is left alone before it is tried again."""
PATIENCE_S: Final = 0.1
"""How long one exchange may take: a device is waiting."""
KEPT_S: Final = 7200

_EXCHANGE: Final = """
local now = redis.call('TIME')
local held = redis.call('GET', KEYS[1]) or ''
local replaced = 0
if ARGV[1] ~= '' and held == ARGV[2] then
    held = ARGV[1]
    redis.call('SET', KEYS[1], held, 'EX', ARGV[6])
    replaced = 1
end
if ARGV[3] ~= '' then
    local cutoff = (tonumber(now[1]) - tonumber(ARGV[5])) * 1000
    redis.call('XADD', KEYS[2], 'MINID', '~', string.format('%.0f', cutoff), '*', 'c', ARGV[3])
    redis.call('EXPIRE', KEYS[2], ARGV[6])
end
for device = 7, #ARGV do
    redis.call('ZADD', KEYS[3], now[1], ARGV[device])
end
if #ARGV >= 7 then
    redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -3)
    redis.call('EXPIRE', KEYS[3], ARGV[6])
end
local calls = redis.call('XRANGE', KEYS[2], ARGV[4], '+', 'COUNT', 500)
local seen = redis.call('ZRANGE', KEYS[3], 0, -1, 'WITHSCORES')
return {now[1], now[2], held, replaced, calls, seen}
"""

_log: Final = structlog.stdlib.get_logger(__name__)


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What others told. `held` is where the circuit stands, opaque, empty when nobody said.

    Times are on this process's monotonic clock. `after` is where to read on the next time.
    """

    held: bytes
    replaced: bool
    calls: Sequence[tuple[float, Settled]]
    seen: Sequence[tuple[UUID, float]]
    after: str


class SharedCircuits:
    """One per process; close with `close`. While Redis is away every exchange is None."""

    EXCHANGE: ClassVar[str] = _EXCHANGE

    def __init__(
        self,
        url: str,
        *,
        patience_s: float = PATIENCE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._process = os.urandom(8)
        self._away_until: float | None = None
        self._ahead_s = 0.0
        """How far the clock of Redis is ahead of ours."""
        self._connections = BlockingConnectionPool.from_url(
            url,
            max_connections=8,
            timeout=patience_s,
            socket_connect_timeout=patience_s,
            socket_timeout=patience_s,
            # A script may have been carried out though nobody heard: only a cut line is retried.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        )
        self._redis = Redis(connection_pool=self._connections)
        self._script = self._redis.register_script(self.EXCHANGE)

    async def exchange(
        self,
        service_id: UUID,
        *,
        knows: bytes,
        standing: Standing | None,
        calls: Sequence[Settled],
        seen: Sequence[UUID],
        after: str,
        window_s: float,
    ) -> Told | None:
        """Tell what is new here and hear what is new elsewhere; None while Redis is away.

        `standing` replaces what is held if that is still what the caller `knows`.
        """
        if self._away_until is not None:
            if self._monotonic() < self._away_until:
                return None
            # This call tries; the others stay away until it knows.
            self._away_until = self._monotonic() + AWAY_FOR_S
        name = f"link:circuit:{{{service_id}}}"
        said = b"" if standing is None else _ENCODER.encode(standing.later(self._ahead_s))
        batch = _ENCODER.encode((self._process, calls)) if calls else b""
        try:
            answer: Any = await self._script(
                keys=[name, f"{name}:calls", f"{name}:seen"],
                args=[
                    *(said, knows, batch, after, int(window_s) + 1, KEPT_S),
                    *(device.bytes for device in seen),
                ],
            )
        except (RedisError, OSError) as error:
            self._gone(type(error).__name__)
            return None
        self._back()
        return self._told(answer, after)

    def read(self, held: bytes) -> Standing:
        """Where the circuit stands, on our clock."""
        return msgspec.msgpack.decode(held, type=Standing).later(-self._ahead_s)

    async def close(self) -> None:
        """Close the connections; of no use afterwards."""
        await self._connections.aclose()

    def _told(self, answer: Any, after: str) -> Told:
        seconds, micros, held, replaced, entries, seen = answer
        self._ahead_s = int(seconds) + int(micros) / 1e6 - self._monotonic()
        calls: list[tuple[float, Settled]] = []
        for identifier, fields in entries:
            milliseconds, _, number = identifier.decode().partition("-")
            after = f"{milliseconds}-{int(number) + 1}"
            process, told = msgspec.msgpack.decode(fields[1], type=tuple[bytes, list[Settled]])
            if process != self._process:
                at = int(milliseconds) / 1000 - self._ahead_s
                calls += [(at, each) for each in told]
        return Told(
            held=held,
            replaced=bool(replaced),
            calls=calls,
            seen=[
                (UUID(bytes=device), float(at) - self._ahead_s)
                for device, at in zip(seen[::2], seen[1::2], strict=True)
            ],
            after=after,
        )

    def _gone(self, reason: str) -> None:
        if self._away_until is None:
            _log.warning("circuits_in_process", reason=reason)
        self._away_until = self._monotonic() + AWAY_FOR_S

    def _back(self) -> None:
        if self._away_until is not None:
            self._away_until = None
            _log.info("circuits_in_redis")


_ENCODER: Final = msgspec.msgpack.Encoder()
