"""Sessions that the server ends when nobody speaks: what a session holds, a process that stands
still gives up. Who works on something else meanwhile must keep its session speaking."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from infrastructure.database import Connection

T = TypeVar("T")


async def speaking(connection: Connection, work: Awaitable[T], every_s: float) -> T:
    """What comes of `work`, while the session says something every `every_s` seconds.

    Raises what `work` raises; when the session is lost psycopg.Error, and `work` is cut off.
    """
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait([task], timeout=every_s))[0]:
            await connection.execute("SELECT")
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
