"""What a read model shows is stated in the log, and a replay of the log comes to the same rows."""

import asyncio
from collections.abc import Sequence

import msgspec
import psycopg
import pytest

from domain.events import Recorded
from domain.ids import PLATFORM, TenantId, projection_id
from domain.projection import Projection, ProjectionDigested, ProjectionDiverged, rebuild
from infrastructure.database import Connection
from infrastructure.projections import tables
from infrastructure.projections.comparison import CannotCompare, compare
from infrastructure.projections.digester import Digester, Digests
from infrastructure.projections.live_rows import OtherVersion, live_rows
from infrastructure.projections.replay import replaying
from projections import audit, devices
from projections.catalogue import READ_MODELS
from projections.read_model import ReadModel
from tests.builders import device_paired
from tests.infrastructure.projections.watching import (
    device_id,
    halted_for,
    register,
    tally,
    until,
)
from tests.projections.stage import OTHER_TENANT, PATIENCE_S, Stage
from tests.projections.story import tell
from tests.spec import TENANT


async def sql_by_hand(stage: Stage, statement: str, *given: object) -> None:
    """What nobody may do: a change of rows without an event."""
    async with await psycopg.AsyncConnection.connect(stage.dsn, autocommit=True) as admin:
        changed = await admin.execute(statement.encode(), given or None)
        assert changed.rowcount == 1


async def stated(stage: Stage, model: ReadModel, tenant_id: TenantId = TENANT) -> Projection:
    found = rebuild(await stage.log.load(tenant_id, projection_id(tenant_id, model.name)))
    assert found is not None
    return found


async def whole_log(stage: Stage, up_to: int) -> Sequence[Recorded]:
    return await stage.log.read(0, up_to)


@pytest.mark.parametrize("portion", [1, 7, 500])
async def test_whoever_replays_the_log_comes_to_the_digests_that_are_stated(
    stage: Stage, portion: int
) -> None:
    await tell(stage)
    await stage.show()
    end = stage.last
    digests = Digests(stage.dsn, stage.log)
    for model in READ_MODELS:
        for tenant_id in (TENANT, OTHER_TENANT, PLATFORM):
            await digests.state(model, tenant_id, compared=True)
    events = await whole_log(stage, end)
    async with replaying(stage.dsn, READ_MODELS) as replay:
        for first in range(0, end, portion):
            await replay.take(events[first : first + portion])
        for model in READ_MODELS:
            for tenant_id in (TENANT, OTHER_TENANT, PLATFORM):
                found = await stated(stage, model, tenant_id)
                assert found.digested is not None
                assert found.diverged is None
                assert found.digested.position == end
                assert found.digested.version == model.version
                assert found.digested.tables == await replay.digests(model.name, tenant_id)
            if model.name != "enrollments":
                one, other = [
                    (await stated(stage, model, each)).digested for each in (TENANT, OTHER_TENANT)
                ]
                assert one is not None
                assert other is not None
                assert one.tables != other.tables, "each tenant has rows of its own"


async def test_nothing_new_is_not_stated_again(stage: Stage) -> None:
    """A digest is an event of the tenant, and yet no reason for another one."""
    await tell(stage)
    digests = Digests(stage.dsn, stage.log)
    async with stage.runner() as runner:
        for _ in range(3):
            await stage.caught_up(runner)
            for model in READ_MODELS:
                await digests.state(model, TENANT, compared=True)
    for model in READ_MODELS:
        assert len(await stage.log.load(TENANT, projection_id(TENANT, model.name))) == 1


@pytest.mark.parametrize(
    ("statement", "difference", "row", "row_position"),
    [
        ("UPDATE read_models.devices SET name = 'Mine' WHERE position = 2", "altered", 1, 5),
        ("UPDATE read_models.devices SET last_position = 3 WHERE position = 2", "altered", 1, 5),
        ("DELETE FROM read_models.devices WHERE position = 3", "missing", 2, 3),
        ("DELETE FROM read_models.devices WHERE position = 4", "missing", 3, 4),
        (
            "INSERT INTO read_models.devices SELECT (json_populate_record(d, "
            """'{"device_id":"00000000-0000-4000-8000-000000000000"}')).* """
            "FROM read_models.devices d WHERE position = 2",
            "added",
            None,
            None,
        ),
    ],
)
async def test_a_row_altered_by_sql_is_named_and_its_digest_betrays_it(
    stage: Stage, statement: str, difference: str, row: int | None, row_position: int | None
) -> None:
    await register(stage, 0, 4)
    await stage.record(device_id(1), device_paired())
    await stage.show()
    before = await compare(stage.dsn, devices.READ_MODEL, stage.log)
    assert (before.position, before.rows, before.differing) == (stage.last, 4, None)

    await sql_by_hand(stage, statement)
    wanted = "00000000-0000-4000-8000-000000000000" if row is None else str(device_id(row))
    found = (await compare(stage.dsn, devices.READ_MODEL, stage.log)).differing
    alone = (await compare(stage.dsn, devices.READ_MODEL, stage.log, tenant_id=TENANT)).differing
    assert found is not None
    assert found == alone
    assert msgspec.json.decode(found.key) == {"device_id": wanted}
    assert (found.read_model, found.table, found.tenant_id) == ("devices", "devices", TENANT)
    assert (found.difference, found.row_position) == (difference, row_position)
    other = await compare(stage.dsn, devices.READ_MODEL, stage.log, tenant_id=OTHER_TENANT)
    assert other.differing is None

    digested = await Digests(stage.dsn, stage.log).state(devices.READ_MODEL, TENANT, compared=True)
    assert digested is not None
    async with replaying(stage.dsn, [devices.READ_MODEL]) as replay:
        await replay.take(await whole_log(stage, digested.position))
        assert await replay.digests("devices", TENANT) != digested.tables
    known = (await stated(stage, devices.READ_MODEL)).diverged
    assert known is not None
    assert (known.key, known.difference) == (found.key, difference)
    assert (known.row_position, known.position) == (row_position, digested.position)


async def test_a_setting_that_was_turned_off_by_sql_is_found_too(stage: Stage) -> None:
    """The second table of a read model, whose rows do not say which event made them."""
    await tell(stage)
    await stage.show()
    await sql_by_hand(
        stage,
        "UPDATE read_models.audit_settings SET enabled = NOT enabled WHERE tenant_id = %s",
        TENANT,
    )
    found = (await compare(stage.dsn, audit.READ_MODEL, stage.log)).differing
    assert found is not None
    assert (found.table, found.difference, found.row_position) == (
        "audit_settings",
        "altered",
        None,
    )
    assert msgspec.json.decode(found.key) == {"tenant_id": str(TENANT)}


async def test_rows_are_compared_and_digested_while_writers_and_rebuilds_go_on(
    stage: Stage,
) -> None:
    """Every digest is of one position, however the tables are swapped beneath it."""
    await register(stage, 0, 20)
    done = asyncio.Event()
    digests = Digests(stage.dsn, stage.log)
    model = devices.READ_MODEL

    async def write() -> None:
        number = 20
        while not done.is_set():
            await register(stage, number, number + 1)
            number += 1

    async with stage.runner(model) as runner:
        assert await runner.wait(stage.last, model.name, PATIENCE_S)
        writing = asyncio.create_task(write())
        for _ in range(4):
            _, found = await asyncio.gather(
                runner.rebuild(model.name), compare(stage.dsn, model, stage.log, batch=5)
            )
            assert found.differing is None
            await asyncio.gather(
                runner.rebuild(model.name), digests.state(model, TENANT, compared=False)
            )
        done.set()
        await writing
    events = await whole_log(stage, stage.last + 100)
    told = [each.event for each in events if isinstance(each.event, ProjectionDigested)]
    assert len(told) > 1
    for digested in told:
        async with replaying(stage.dsn, [model]) as replay:
            await replay.take(events[: digested.position])
            assert await replay.digests(model.name, TENANT) == digested.tables


async def test_a_snapshot_waits_for_a_swap_and_is_not_taken_before_it(stage: Stage) -> None:
    """Taken first, it would find the new tables empty: their rows are younger than it is."""
    await register(stage, 0, 3)
    await stage.show(devices.READ_MODEL)
    model = devices.READ_MODEL
    async with (
        await tables.connect(stage.dsn, tables.NEXT) as swapping,
        await tables.connect(stage.dsn, tables.LIVE) as reading,
    ):
        async with swapping.transaction():
            await tables.create(swapping, model)
            await swapping.execute("INSERT INTO devices SELECT * FROM read_models.devices")
            await tables.swap(swapping, model)
            digesting = asyncio.create_task(_rows_seen(reading, model))
            await until(lambda: _waits_for_a_lock(stage))
        assert await digesting == 3

        # The same without the lock that comes before the snapshot: the fault that it prevents.
        await reading.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await reading.execute("SELECT count(*) FROM public.projection_positions")
        async with swapping.transaction():
            await tables.create(swapping, model)
            await swapping.execute("INSERT INTO devices SELECT * FROM read_models.devices")
            await tables.swap(swapping, model)
        cursor = await reading.execute("SELECT count(*) FROM read_models.devices")
        assert await cursor.fetchone() == (0,)
        await reading.execute("ROLLBACK")


async def _rows_seen(connection: Connection, model: ReadModel) -> int:
    async with live_rows(connection, model) as live:
        (digest,) = await live.digests(TENANT)
        return digest.rows


async def _waits_for_a_lock(stage: Stage) -> bool:
    async with stage.projector.connection() as connection:
        cursor = await connection.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return await cursor.fetchone() == (True,)


async def test_a_halted_tenant_is_compared_up_to_its_halt_and_not_digested(stage: Stage) -> None:
    await register(stage, 0, 4)
    await register(stage, 100, 103, OTHER_TENANT)

    async def poison(connection: Connection, events: Sequence[Recorded]) -> None:
        if any(each.position == 3 for each in events):
            raise ValueError
        await devices.READ_MODEL.project(connection, events)

    model = msgspec.structs.replace(devices.READ_MODEL, project=poison)
    async with stage.runner(model) as runner:
        await halted_for(runner, model, TENANT)
        assert await runner.wait(stage.last, model.name, PATIENCE_S)
    found = await compare(stage.dsn, devices.READ_MODEL, stage.log)
    assert (found.rows, found.halted, found.differing) == (2 + 3, [TENANT], None)
    digests = Digests(stage.dsn, stage.log)
    assert await digests.state(model, TENANT, compared=True) is None
    assert await digests.state(model, OTHER_TENANT, compared=True) is not None


async def test_what_cannot_be_replayed_or_is_of_another_version_is_said(stage: Stage) -> None:
    await register(stage, 0, 2)
    await stage.show(tally())

    async def broken(connection: Connection, events: Sequence[Recorded]) -> None:
        raise ValueError("secret")

    with pytest.raises(CannotCompare, match="ValueError in broken") as told:
        await compare(stage.dsn, tally(broken), stage.log)
    assert "secret" not in str(told.value)
    with pytest.raises(OtherVersion):
        await compare(stage.dsn, tally(version=2), stage.log)


async def test_the_digester_states_what_changed_and_then_is_silent(stage: Stage) -> None:
    await register(stage, 0, 2)
    await register(stage, 100, 102, OTHER_TENANT)
    models = (devices.READ_MODEL, audit.READ_MODEL)
    async with stage.runner(*models) as runner:
        for model in models:
            assert await runner.wait(stage.last, model.name, PATIENCE_S)
        digests = Digests(stage.dsn, stage.log)
        digester = Digester(
            digests, stage.projector, models, runner.runs_here, interval_s=0.01, share=0
        )

        async def count(wanted: int) -> bool:
            events = await whole_log(stage, 1000)
            digester.heard(events)
            return sum(isinstance(each.event, ProjectionDigested) for each in events) == wanted

        async with digester:
            # What was there before it began, for each tenant and read model.
            await until(lambda: count(4))
            stage.last = (await whole_log(stage, 1000))[-1].position
            await stage.record(device_id(0), device_paired())
            await until(lambda: count(6))
            for _ in range(5):
                assert await count(6)
                await asyncio.sleep(0.02)
            await sql_by_hand(
                stage,
                "UPDATE read_models.devices SET name = 'Mine' WHERE device_id = %s",
                device_id(100),
            )
            await stage.record(device_id(101), device_paired(), tenant_id=OTHER_TENANT)

            async def found_out() -> bool:
                digester.heard(await whole_log(stage, 1000))
                events = await stage.log.load(OTHER_TENANT, projection_id(OTHER_TENANT, "devices"))
                return any(isinstance(each.event, ProjectionDiverged) for each in events)

            await until(found_out)


async def test_a_digester_leaves_alone_what_another_process_runs(stage: Stage) -> None:
    await register(stage, 0, 2)
    await stage.show(devices.READ_MODEL)
    digests = Digests(stage.dsn, stage.log)
    digester = Digester(
        digests, stage.projector, (devices.READ_MODEL,), lambda _: False, interval_s=0.01
    )
    async with digester:
        await asyncio.sleep(0.2)
    assert await stage.log.load(TENANT, projection_id(TENANT, "devices")) == ()


async def test_a_bug_in_the_digester_is_not_silent(stage: Stage) -> None:
    class Broken(Digests):
        async def state(
            self, model: ReadModel, tenant_id: TenantId, *, compared: bool
        ) -> ProjectionDigested | None:
            raise LookupError(f"{model.name} of {tenant_id}, compared: {compared}")

    await register(stage, 0, 1)
    digester = Digester(
        Broken(stage.dsn, stage.log),
        stage.projector,
        (devices.READ_MODEL,),
        lambda _: True,
        interval_s=0.01,
    )
    async with digester:
        with pytest.raises(LookupError):
            await asyncio.wait_for(digester.until_failure(), PATIENCE_S)


async def test_a_table_without_a_primary_key_has_no_order_and_no_digest(stage: Stage) -> None:
    model = msgspec.structs.replace(
        tally(), ddl="CREATE TABLE tally (tenant_id uuid NOT NULL, told bigint NOT NULL)"
    )
    await tables.ensure(stage.dsn, [model])
    async with await tables.connect(stage.dsn, tables.LIVE) as connection:
        with pytest.raises(LookupError, match="tally"):
            async with live_rows(connection, model):
                pass
