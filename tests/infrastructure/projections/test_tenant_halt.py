"""A poison event stops its tenant's rows in one read model, in the open, and nothing is lost."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import psycopg
import pytest

from domain.device import DeviceRegistered
from domain.events import Recorded
from infrastructure.database import Connection
from infrastructure.projections.batch import take_in
from infrastructure.projections.health import ProjectionHealth
from infrastructure.projections.positions import Standing
from infrastructure.projections.projector import Pace
from infrastructure.projections.reads import LogEnd, TenantReads
from infrastructure.projections.rebuild import RebuildHalted, rebuild
from infrastructure.projections.runner import ProjectionRunner
from projections import devices, revoked_certificates, users
from projections.read_model import ReadModel
from tests.builders import USER, device_registered, device_revoked, user_signed_up
from tests.infrastructure.projections.watching import (
    count,
    device_id,
    halted,
    halted_for,
    register,
    status_of,
    tally,
    told,
    until,
)
from tests.projections.stage import EAGER, OTHER_TENANT, PATIENCE_S, Stage
from tests.spec import TENANT

Project = Callable[[Connection, Sequence[Recorded]], Awaitable[None]]
SECRET = "Ali Al-Harbi +966500000001"


@dataclass
class Poison:
    """Breaks a reducer at some positions until they are cured."""

    real: Project
    positions: set[int] = field(default_factory=set[int])

    async def project(self, connection: Connection, events: Sequence[Recorded]) -> None:
        if any(recorded.position in self.positions for recorded in events):
            raise ValueError(SECRET)
        await self.real(connection, events)


def poisoned(model: ReadModel, *positions: int) -> tuple[Poison, ReadModel]:
    poison = Poison(model.project, set(positions))
    return poison, msgspec.structs.replace(model, project=poison.project)


async def test_a_poison_event_halts_one_tenant_in_one_read_model_and_resumes_without_loss(
    stage: Stage,
) -> None:
    await register(stage, 0, 4)
    poison, model = poisoned(
        devices.READ_MODEL, await stage.record(device_id(4), device_registered())
    )
    (position,) = poison.positions
    await register(stage, 5, 9)
    await register(stage, 100, 105, OTHER_TENANT)
    await stage.record(USER, user_signed_up())

    async with stage.runner(model, users.READ_MODEL) as runner:
        halt = await halted_for(runner, model, TENANT)
        assert (halt.position, halt.event) == (position, "device.registered")
        assert "ValueError in project" in halt.error
        assert await runner.wait(stage.last, "devices", PATIENCE_S)
        status = await status_of(runner, model)
        assert (status.position, status.lag, status.halt) == (stage.last, 0, None)
        assert SECRET not in repr(status)
        async with stage.as_tenant() as connection:
            assert len((await devices.by_tenant(connection, TENANT)).rows) == 4
        async with stage.as_tenant(OTHER_TENANT) as connection:
            assert len((await devices.by_tenant(connection, OTHER_TENANT)).rows) == 5
        assert await runner.wait(stage.last, "users", PATIENCE_S)
        assert not (await status_of(runner, users.READ_MODEL)).tenants_halted

        # Resumed without a cure, it halts at the same event again.
        assert (await runner.resume("devices")).tenants == [TENANT]
        again = await halted_for(runner, model, TENANT)
        assert (again.position, again.error) == (halt.position, halt.error)

        poison.positions.clear()
        assert await runner.resume("devices", TENANT)
        await nobody_halted(runner, model)
        async with stage.as_tenant() as connection:
            assert len((await devices.by_tenant(connection, TENANT)).rows) == 9
        assert not await runner.resume("devices")


async def nobody_halted(runner: ProjectionRunner, model: ReadModel) -> None:
    async def resumed() -> bool:
        return not (await status_of(runner, model)).tenants_halted

    await until(resumed)


@pytest.mark.parametrize("batch", [1, 3, 500])
async def test_what_was_missed_is_counted_once_while_everybody_goes_on(
    stage: Stage, batch: int
) -> None:
    """The tally counts every loss and every repetition, whatever the portions."""
    await register(stage, 0, 3)
    poison, model = poisoned(tally(), stage.last)
    pace = Pace(batch=batch, live_interval_s=0.0, poll_s=0.05)
    async with stage.runner(model, pace=pace) as runner:
        halt = await halted_for(runner, model, TENANT)
        assert halt.position == 3
        await register(stage, 3, 20)
        await register(stage, 100, 110, OTHER_TENANT)
        assert await runner.wait(stage.last, "tally", PATIENCE_S)
        assert (await told(stage, TENANT), await told(stage, OTHER_TENANT)) == (2, 10)
        poison.positions.clear()
        await asyncio.gather(
            runner.resume("tally"),
            register(stage, 20, 30),
            register(stage, 110, 120, OTHER_TENANT),
        )
        await nobody_halted(runner, model)
        assert await runner.wait(stage.last, "tally", PATIENCE_S)
        assert (await told(stage, TENANT), await told(stage, OTHER_TENANT)) == (30, 20)


async def skipping(
    connection: Connection, model: ReadModel, before: Standing, events: Sequence[Recorded]
) -> Standing:
    """The planted bug: what cannot be taken in is passed, and nobody is halted."""
    try:
        return await take_in(connection, model, before, events)
    except ValueError:
        quiet = msgspec.structs.replace(model, listens_to=())
        return await take_in(connection, quiet, before, events)


async def test_the_tally_sees_an_event_that_is_skipped(stage: Stage) -> None:
    await register(stage, 0, 5)
    poison, model = poisoned(tally(), 3)
    pace = Pace(batch=1, live_interval_s=0.0, poll_s=0.05)
    async with stage.runner(model, take=skipping, pace=pace) as runner:
        assert await runner.wait(stage.last, "tally", PATIENCE_S)
        poison.positions.clear()
        assert not await runner.resume("tally")
        assert await told(stage) == 4


async def test_a_second_poison_event_halts_the_tenant_there_and_keeps_what_came_before(
    stage: Stage,
) -> None:
    await register(stage, 0, 9)
    poison, model = poisoned(tally(), 2, 6)
    async with stage.runner(model) as runner:
        assert (await halted_for(runner, model, TENANT)).position == 2
        poison.positions.remove(2)
        await runner.resume("tally", TENANT)

        async def at_the_second() -> bool:
            halts = (await status_of(runner, model)).tenants_halted
            return [(halt.position, halt.resuming) for halt in halts] == [(6, False)]

        await until(at_the_second)
        assert await told(stage) == 5
        poison.positions.clear()
        await runner.resume("tally")
        await nobody_halted(runner, model)
        assert await told(stage) == 9


async def test_a_halt_outlives_the_process_and_several_may_halt(stage: Stage) -> None:
    await register(stage, 0, 3)
    await register(stage, 100, 103, OTHER_TENANT)
    poison, model = poisoned(tally(), 2, 5)
    async with stage.runner(model) as first:
        await halted_for(first, model, TENANT)
        await halted_for(first, model, OTHER_TENANT)
        assert await told(stage) == 2
    poison.positions.clear()
    async with stage.runner(model) as second:
        await register(stage, 3, 4)
        assert await second.wait(stage.last, "tally", PATIENCE_S)
        assert await told(stage) == 2
        assert (await second.resume("tally", OTHER_TENANT)).tenants == [OTHER_TENANT]

        async def one_left() -> bool:
            halts = (await status_of(second, model)).tenants_halted
            return [halt.tenant_id for halt in halts] == [TENANT]

        await until(one_left)
        assert (await told(stage, TENANT), await told(stage, OTHER_TENANT)) == (1, 3)
        await second.resume("tally")
        await nobody_halted(second, model)
        assert await told(stage) == 7


class SeenAll:
    """A tail that no position is beyond."""

    position = 2**63 - 1


async def test_a_read_that_demands_a_position_is_refused_to_the_halted_tenant_alone(
    stage: Stage,
) -> None:
    await register(stage, 0, 2)
    _, model = poisoned(devices.READ_MODEL, 2)
    await register(stage, 100, 101, OTHER_TENANT)
    async with stage.runner(model) as runner:
        await halted_for(runner, model, TENANT)
        reads = TenantReads(stage.app, runner, LogEnd(SeenAll(), stage.projector))
        assert await reads.wait(OTHER_TENANT, "devices", stage.last)
        assert await reads.wait(TENANT, "devices", 1)
        assert not await reads.wait(TENANT, "devices", 2)
        assert not await reads.wait(TENANT, "devices", stage.last)


async def test_an_edge_that_starts_follows_the_log_from_before_the_halt(stage: Stage) -> None:
    """Or it would never hear of the revocation that the read model could not take in."""
    for number in (0, 1):
        await stage.record(device_id(number), device_registered())
    await stage.record(device_id(0), device_revoked(fingerprints=("aa",)))
    poison, model = poisoned(revoked_certificates.READ_MODEL, stage.last + 1)
    await stage.record(device_id(1), device_revoked(fingerprints=("bb",)))
    await register(stage, 2, 5)
    async with stage.runner(model) as runner:
        await halted_for(runner, model, TENANT)
        assert await runner.wait(stage.last, model.name, PATIENCE_S)
        async with stage.projector.connection() as connection:
            position, fingerprints = await revoked_certificates.whole_set(connection)
            assert (position, fingerprints) == (min(poison.positions) - 1, frozenset({"aa"}))
            poison.positions.clear()
            await runner.resume(model.name)
            await nobody_halted(runner, model)
            everything = (stage.last, frozenset({"aa", "bb"}))
            assert await revoked_certificates.whole_set(connection) == everything


async def test_tables_that_are_not_there_are_no_tenants_fault(stage: Stage) -> None:
    """Halting one tenant after the other would only hide what is wrong."""

    async def lost(connection: Connection, events: Sequence[Recorded]) -> None:
        await connection.execute("SELECT * FROM no_such_table")

    await register(stage, 0, 3)
    await register(stage, 100, 103, OTHER_TENANT)
    async with stage.runner(tally(lost)) as runner:
        status = await halted(runner, tally())
        assert status.halt is not None
        assert (status.position, status.halt.position, status.halt.event) == (
            0,
            1,
            "device.registered",
        )
        assert "42P01" in status.halt.error
        assert not status.tenants_halted
    async with stage.runner(tally()) as mended:
        assert (await mended.resume("tally")).everybody
        assert await mended.wait(stage.last, "tally", PATIENCE_S)
        assert await told(stage) == 6


async def test_values_that_do_not_fit_halt_their_tenant(stage: Stage) -> None:
    async def too_long(connection: Connection, events: Sequence[Recorded]) -> None:
        for recorded in events:
            assert isinstance(recorded.event, DeviceRegistered)
            if recorded.tenant_id == TENANT:
                await connection.execute("SELECT %s::varchar::int", (SECRET,))
        await count(connection, events)

    await register(stage, 0, 2)
    await register(stage, 100, 103, OTHER_TENANT)
    model = tally(too_long)
    async with stage.runner(model) as runner:
        halt = await halted_for(runner, model, TENANT)
        assert (halt.position, "SQLSTATE 22" in halt.error) == (1, True)
        assert await runner.wait(stage.last, "tally", PATIENCE_S)
        assert await told(stage) == 3


async def test_a_lag_is_told_in_positions_and_in_seconds(stage: Stage) -> None:
    await register(stage, 0, 2)
    async with stage.runner(tally()) as runner:
        assert await runner.wait(stage.last, "tally", PATIENCE_S)
        status = await status_of(runner, tally())
        assert (status.lag, status.lag_s) == (0, 0.0)
    await register(stage, 2, 5)
    await asyncio.sleep(0.05)
    idle = stage.runner(tally())
    status = await status_of(idle, tally())
    assert status.lag == 3
    assert status.lag_s > 0


async def test_health_names_the_halted_read_models_and_asks_the_database_seldom(
    stage: Stage,
) -> None:
    now = [0.0]
    await register(stage, 0, 1)
    poison, model = poisoned(tally(), 1)
    async with stage.runner(model, users.READ_MODEL) as runner:
        health = ProjectionHealth(stage.app, monotonic=lambda: now[0])
        await halted_for(runner, model, TENANT)
        assert await health.halted() == ["tally"]
        poison.positions.clear()
        await runner.resume("tally")
        await nobody_halted(runner, model)
        assert await health.halted() == ["tally"]
        now[0] = 1.1
        assert await health.halted() == []


async def test_a_tenant_sees_its_own_halts_and_can_change_none(stage: Stage) -> None:
    await register(stage, 0, 1)
    await register(stage, 100, 101, OTHER_TENANT)
    _, model = poisoned(tally(), 1, 2)
    async with stage.runner(model) as runner:
        await halted_for(runner, model, OTHER_TENANT)
    async with stage.as_tenant() as connection:
        cursor = await connection.execute("SELECT tenant_id FROM projection_halts")
        assert await cursor.fetchall() == [(TENANT,)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with stage.as_tenant() as connection:
            await connection.execute("DELETE FROM projection_halts")


async def test_a_rebuild_keeps_the_halt_of_a_tenant_that_is_not_cured(stage: Stage) -> None:
    await register(stage, 0, 3)
    poison, model = poisoned(tally(), 2)
    await register(stage, 100, 103, OTHER_TENANT)
    async with stage.runner(model) as runner:
        before = await halted_for(runner, model, TENANT)
        assert await runner.rebuild("tally") == stage.last
        after = await halted_for(runner, model, TENANT)
        assert (after.position, after.error) == (before.position, before.error)
        await register(stage, 3, 5)
        await register(stage, 103, 105, OTHER_TENANT)
        assert await runner.wait(stage.last, "tally", PATIENCE_S)
        assert (await told(stage, TENANT), await told(stage, OTHER_TENANT)) == (1, 5)
        poison.positions.clear()
        await runner.resume("tally")
        await nobody_halted(runner, model)
        assert (await told(stage, TENANT), await told(stage, OTHER_TENANT)) == (5, 5)


async def test_a_rebuild_that_would_take_rows_from_a_tenant_is_refused(stage: Stage) -> None:
    await register(stage, 0, 3)
    await register(stage, 100, 103, OTHER_TENANT)
    await stage.show(tally())
    _, worse = poisoned(tally(), 2)
    with pytest.raises(RebuildHalted) as refused:
        await rebuild(stage.dsn, worse, stage.log)
    assert (refused.value.halt.tenant_id, refused.value.halt.position) == (TENANT, 2)
    assert await told(stage) == 6


async def test_a_newer_version_does_not_wait_for_one_tenant(stage: Stage) -> None:
    await register(stage, 0, 3)
    await register(stage, 100, 103, OTHER_TENANT)
    await stage.show(tally())
    _, newer = poisoned(tally(version=2), 2)
    async with stage.runner(newer, pace=EAGER) as runner:
        assert (await halted_for(runner, newer, TENANT)).position == 2

        async def upgraded() -> bool:
            return (await status_of(runner, newer)).version == 2

        await until(upgraded)
        await register(stage, 103, 104, OTHER_TENANT)
        assert await runner.wait(stage.last, "tally", PATIENCE_S)
        assert (await told(stage, TENANT), await told(stage, OTHER_TENANT)) == (1, 4)
