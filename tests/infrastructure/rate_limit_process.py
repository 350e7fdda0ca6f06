"""One process that spends a shared budget: prints "ready", waits for a line, prints the allowed."""

import asyncio
import sys

from redis.asyncio import Redis

from infrastructure.keys.keyring import Keyring
from infrastructure.rate_limits import RedisRateLimiter


class CheckThenSet:
    """The planted bug: reads the count, decides, and writes the count back."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url)

    async def hit(self, budget: str, key: str, *, limit: int, per_s: int) -> bool:
        count = int(await self._redis.get(f"{budget}/{key}") or 0)
        if count >= limit:
            return False
        await self._redis.set(f"{budget}/{key}", count + 1, ex=per_s)
        return True

    async def close(self) -> None:
        await self._redis.aclose()


async def spend(limiter: RedisRateLimiter | CheckThenSet, hits: int, limit: int) -> None:
    # The connection and the script are there before the word is given.
    await limiter.hit("warm", "up", limit=1_000_000, per_s=600)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    answers = await asyncio.gather(
        *(limiter.hit("race", "key", limit=limit, per_s=600) for _ in range(hits))
    )
    sys.stdout.write(f"{sum(answers)}\n")


async def main(name: str, url: str, hits: int, limit: int) -> None:
    limiter = (
        RedisRateLimiter(url, Keyring(bytes(32)), patience_s=30)
        if name == "ours"
        else CheckThenSet(url)
    )
    try:
        await spend(limiter, hits, limit)
    finally:
        await limiter.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
