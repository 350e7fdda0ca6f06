"""Ends tasks for good: one cancellation may get lost on its way.

Whoever cleans up after being cancelled may fail at it, a connection that cannot be rolled back for
instance, and that error takes the cancellation's place. A loop that goes on after errors of the
database then goes on for ever, and so would whoever waits for its end.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

AGAIN_S: Final = 1.0


async def end(tasks: Iterable["asyncio.Task[Any]"], *, again_s: float = AGAIN_S) -> None:
    """Cancel until all of them are done. What they raised is theirs: ask them for it."""
    ending = set(tasks)
    running = {task for task in ending if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=again_s)
    for task in ending:
        if not task.cancelled():
            # Asked for, so that nobody is told of an exception that was never retrieved.
            task.exception()
