"""A task is ended although its own cleaning up gets in the way."""

import asyncio

import pytest

from infrastructure.endings import end


class CannotCleanUp(Exception):
    pass


async def test_a_loop_whose_cleaning_up_swallows_the_cancellation_is_ended() -> None:
    """Cancelled once, it would go on for ever: seen with a single `cancel` in `end`."""
    rounds = 0

    async def carries_on() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if rounds == 3:
                    raise

    task = asyncio.create_task(carries_on())
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await end([task], again_s=0.01)
    assert task.cancelled()
    assert rounds == 3


async def test_what_a_task_raised_is_left_for_who_asks() -> None:
    async def fails() -> None:
        raise CannotCleanUp

    failed, done = asyncio.create_task(fails()), asyncio.create_task(asyncio.sleep(0, "done"))
    await asyncio.wait([failed, done])
    await end([failed, done])
    await end([])
    with pytest.raises(CannotCleanUp):
        failed.result()
    assert done.result() == "done"
