"""A read model is built anew while the old one serves, and swapped in at once."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from domain.events import Recorded
from infrastructure.database import Connection
from infrastructure.projections import tables
from infrastructure.projections.blame import RebuildRunning
from infrastructure.projections.rebuild import RebuildHalted, rebuild
from projections import devices
from tests.infrastructure.projections.watching import (
    count,
    halted,
    halted_for,
    register,
    status_of,
    tally,
    told,
    until,
)
from tests.projections.stage import PATIENCE_S, Stage
from tests.spec import TENANT


async def test_readers_and_writers_go_on_while_a_read_model_is_rebuilt(stage: Stage) -> None:
    """Every read sees the whole list: at least what was there when the reader began."""
    await register(stage, 0, 20)
    done = asyncio.Event()
    seen: list[int] = []

    async def read() -> None:
        while not done.is_set():
            async with stage.as_tenant() as connection:
                seen.append(len((await devices.by_tenant(connection, TENANT, limit=200)).rows))

    async def write() -> None:
        number = 20
        while not done.is_set():
            await register(stage, number, number + 1)
            number += 1

    async with stage.runner(devices.READ_MODEL) as runner:
        assert await runner.wait(stage.last, "devices", PATIENCE_S)
        readers = [asyncio.create_task(read()) for _ in range(3)]
        writer = asyncio.create_task(write())
        for _ in range(3):
            await runner.rebuild("devices")
        done.set()
        await asyncio.gather(*readers, writer)
        assert await runner.wait(stage.last, "devices", PATIENCE_S)
        assert len((await stage.rows(devices.READ_MODEL))["devices"]) == stage.last
    assert len(seen) > 3
    assert min(seen) >= 20


async def test_a_rebuild_counts_every_event_once_however_much_is_written_meanwhile(
    stage: Stage,
) -> None:
    await register(stage, 0, 5)
    async with stage.runner(tally()) as runner:
        for first in range(5, 25, 5):
            await asyncio.gather(runner.rebuild("tally"), register(stage, first, first + 5))
        assert await runner.wait(stage.last, "tally", PATIENCE_S)
        assert await told(stage) == stage.last == 25


async def broken(connection: Connection, events: Sequence[Recorded]) -> None:
    raise ValueError("broken")


async def test_a_rebuild_with_the_cure_ends_a_halt(stage: Stage) -> None:
    await register(stage, 0, 3)
    async with stage.runner(tally(broken)) as sick:
        await halted_for(sick, tally(), TENANT)
    async with stage.runner(tally(count)) as cured:
        assert (await status_of(cured, tally())).tenants_halted
        assert await cured.rebuild("tally") == stage.last
        assert not (await status_of(cured, tally())).tenants_halted
        await register(stage, 3, 4)
        assert await cured.wait(stage.last, "tally", PATIENCE_S)
        assert await told(stage) == 4


async def test_a_rebuild_that_fails_leaves_the_live_tables_as_they_were(stage: Stage) -> None:
    await register(stage, 0, 3)
    await stage.show(tally())
    with pytest.raises(RebuildHalted, match="ValueError in broken"):
        await rebuild(stage.dsn, tally(broken), stage.log)
    assert await told(stage) == 3
    await register(stage, 3, 4)
    await stage.show(tally())
    assert await told(stage) == 4
    assert await rebuild(stage.dsn, tally(), stage.log) == stage.last


async def test_one_read_model_is_rebuilt_by_one_process_at_a_time(stage: Stage) -> None:
    await register(stage, 0, 1)
    await stage.show(tally())
    async with await tables.connect(stage.dsn, tables.NEXT) as other:
        assert await tables.try_rebuild_lock(other, "tally")
        with pytest.raises(RebuildRunning):
            await rebuild(stage.dsn, tally(), stage.log)


async def twice(connection: Connection, events: Sequence[Recorded]) -> None:
    await count(connection, events)
    await count(connection, events)


async def test_a_newer_version_rebuilds_at_once_and_the_older_process_stops(stage: Stage) -> None:
    await register(stage, 0, 3)
    newer = msgspec.structs.replace(
        tally(twice, version=2),
        ddl="CREATE TABLE tally (tenant_id uuid PRIMARY KEY, told numeric NOT NULL)",
    )
    async with stage.runner(tally()) as old:
        assert await old.wait(stage.last, "tally", PATIENCE_S)
        async with stage.runner(newer) as new:
            await register(stage, 3, 5)
            assert await new.wait(stage.last, "tally", PATIENCE_S)
            status = await status_of(new, newer)
            while status.version == 1:
                status = await status_of(new, newer)
            await register(stage, 5, 6)
            assert await new.wait(stage.last, "tally", PATIENCE_S)
            assert await told(stage) == 12


async def test_a_newer_version_that_fails_halts_visibly_and_the_old_tables_serve(
    stage: Stage,
) -> None:
    await register(stage, 0, 3)
    await stage.show(tally())
    newer = tally(broken, version=2)
    async with stage.runner(newer) as runner:
        status = await halted(runner, newer)
        assert status.halt is not None
        assert (status.version, status.halt.position) == (1, 1)
        assert "ValueError in broken" in status.halt.error
        assert await told(stage) == 3


async def test_tables_of_another_form_under_the_same_version_stop_the_start(stage: Stage) -> None:
    await stage.show(tally())
    changed = msgspec.structs.replace(
        tally(), ddl="CREATE TABLE tally (tenant_id uuid PRIMARY KEY, told int NOT NULL)"
    )
    with pytest.raises(tables.ReadModelChanged, match="tally"):
        await tables.ensure(stage.dsn, [changed])


async def test_many_processes_may_make_the_tables_at_once(stage: Stage) -> None:
    await asyncio.gather(*(tables.ensure(stage.dsn, [tally()]) for _ in range(4)))
    assert await told(stage) == 0


async def test_a_swap_gives_way_to_whoever_reads_for_long(stage: Stage) -> None:
    """It waits for a second and lets go, or everybody who comes later would wait behind it."""
    await register(stage, 0, 3)
    async with stage.runner(tally()) as runner:
        assert await runner.wait(stage.last, "tally", PATIENCE_S)
        async with await tables.connect(stage.dsn, tables.LIVE) as reading:
            async with reading.transaction():
                await reading.execute("SELECT * FROM tally")
                rebuilding = asyncio.create_task(runner.rebuild("tally"))
                # The live read model stands behind the swap's lock, and comes past it each time.
                for number in range(3, 6):
                    await register(stage, number, number + 1)
                    assert await runner.wait(stage.last, "tally", PATIENCE_S)
                    await asyncio.sleep(0.5)
                assert not rebuilding.done()
            assert await rebuilding >= stage.last
        assert await told(stage) == 6
        assert (await status_of(runner, tally())).position == stage.last


async def test_a_rebuild_that_was_killed_is_begun_anew(stage: Stage) -> None:
    await register(stage, 0, 30)
    await stage.show(tally())
    half_way = asyncio.Event()

    async def slow(connection: Connection, events: Sequence[Recorded]) -> None:
        await count(connection, events)
        if events[-1].position >= 10:
            half_way.set()
            await asyncio.Event().wait()

    killed = asyncio.create_task(rebuild(stage.dsn, tally(slow), stage.log, batch=5))
    await asyncio.wait_for(half_way.wait(), PATIENCE_S)
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    async with stage.runner(tally()) as runner:
        left = {status.name: status.position for status in await runner.status()}
        assert left == {"tally": 30, "tally (rebuild)": 5}

        async def rebuilt() -> bool:
            try:
                return await runner.rebuild("tally") == stage.last
            except RebuildRunning:  # the server has not yet noticed that the other is gone
                return False

        await until(rebuilt)
        assert [status.name for status in await runner.status()] == ["tally"]
        assert await told(stage) == 30
