"""Waiting for something to become true, and saying what it was when it does not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

T = TypeVar("T")

INTERVAL_S: Final = 0.02


class NeverHappened(Exception):
    """What was waited for did not come about in time."""


async def until(what: str, found: Callable[[], Awaitable[T | None]], seconds: float = 10.0) -> T:
    """Ask `found` again and again until it answers with something. Raises NeverHappened."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                answer = await found()
                if answer is not None:
                    return answer
                await asyncio.sleep(INTERVAL_S)
    except TimeoutError as error:
        raise NeverHappened(f"{what}: not within {seconds:.0f} s") from error
