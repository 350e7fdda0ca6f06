"""Read-your-writes from any process: here by signal, elsewhere by the position's row."""

import asyncio

import psycopg
import pytest

from infrastructure.database import APP_ROLE, pool
from infrastructure.projections.log_window import LogWindow
from infrastructure.projections.position_watch import PositionWatch
from tests.infrastructure.projections.watching import register, tally
from tests.projections.stage import PATIENCE_S, Stage


async def test_a_process_without_the_read_model_waits_for_the_stored_position(
    stage: Stage,
) -> None:
    elsewhere = PositionWatch(stage.app)
    async with stage.runner(tally()):
        waiting = [
            asyncio.create_task(elsewhere.wait(position, "tally", PATIENCE_S))
            for position in (1, 2, 3)
        ]
        await register(stage, 0, 3)
        assert await asyncio.gather(*waiting) == [True, True, True]
    await elsewhere.close()


async def test_a_position_that_does_not_come_is_answered_with_false(stage: Stage) -> None:
    await register(stage, 0, 1)
    elsewhere = PositionWatch(stage.app)
    async with stage.runner(tally()) as runner:
        assert not await runner.wait(99, "tally", 0.05)
        assert not await elsewhere.wait(99, "tally", 0.05)
        assert not await elsewhere.wait(1, "no such read model", 0.05)
        with pytest.raises(KeyError):
            await runner.wait(1, "no such read model", 0.05)
    await elsewhere.close()


async def test_positions_that_cannot_be_read_are_an_error_and_no_false(stage: Stage) -> None:
    async with pool(stage.dsn, APP_ROLE) as app:
        watch = PositionWatch(app)
        async with await psycopg.AsyncConnection.connect(stage.dsn, autocommit=True) as admin:
            await admin.execute("REVOKE SELECT ON projection_positions FROM link_app")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await watch.wait(1, "tally", PATIENCE_S)
        await watch.close()


async def test_the_window_gives_every_reader_the_same_log(stage: Stage) -> None:
    """Small windows, uneven readers and a tail that offers ahead never change what is read."""
    await register(stage, 0, 30)
    window = LogWindow(stage.log, events_max=4)

    async def read_all(limit: int) -> list[int]:
        found: list[int] = []
        while events := await window.read(found[-1] if found else 0, limit):
            assert len(events) <= limit
            found.extend(event.position for event in events)
        return found

    ahead = await stage.log.read(20, 5)
    reading = [asyncio.create_task(read_all(limit)) for limit in (1, 3, 7, 100)]
    window.offer(ahead)
    assert await asyncio.gather(*reading) == [list(range(1, 31))] * 4
    window.offer(await stage.log.read(10, 15))
    assert await read_all(9) == list(range(1, 31))
    await register(stage, 30, 32)
    assert [event.position for event in await window.read(29, 10)][:1] == [30]
    assert await read_all(50) == list(range(1, 33))
