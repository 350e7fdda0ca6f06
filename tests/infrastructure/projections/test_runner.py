"""The runner's promises: nothing lost, nothing twice, nothing skipped, and halts in the open."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec
import psycopg
import pytest

from domain.catalogue import EVENTS, UPCASTERS
from domain.events import Recorded
from domain.ids import TenantId
from infrastructure.database import Connection
from infrastructure.event_log.mapper import EventMapper, UnknownEvent
from infrastructure.event_log.tail import Tail
from infrastructure.projections import positions
from infrastructure.projections.batch import TakeIn, take_in
from infrastructure.projections.log_window import LogReader
from infrastructure.projections.positions import Standing
from infrastructure.projections.projector import Pace
from projections import devices
from projections.read_model import ReadModel
from tests.builders import USER, device_registered, user_signed_up
from tests.infrastructure.projections.watching import (
    count,
    device_id,
    halted,
    register,
    runner_backend,
    status_of,
    tally,
    told,
    until,
)
from tests.projections.stage import PATIENCE_S, Stage
from tests.spec import TENANT

EVENTS_TOLD = 12
NEVER_POLLS = Pace(live_interval_s=0.0, poll_s=600.0)

Crash = Callable[[Connection], Awaitable[None]]


def crash_once() -> Crash:
    """Ends the server process of the connection it is given, the first time."""
    left = [True]

    async def crash(connection: Connection) -> None:
        if left.pop() if left else False:
            # As the role that logged in: a projector may not end the session of an administrator.
            await connection.execute("SET ROLE NONE")
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    return crash


def together(crash: Crash) -> TakeIn:
    """The real thing, dying after the rows are written and before the commit."""

    async def take(
        connection: Connection, model: ReadModel, before: Standing, events: Sequence[Recorded]
    ) -> Standing:
        async def project(connection: Connection, events: Sequence[Recorded]) -> None:
            await model.project(connection, events)
            await crash(connection)

        dying = msgspec.structs.replace(model, project=project)
        return await take_in(connection, dying, before, events)

    return take


def position_apart(crash: Crash) -> TakeIn:
    """The planted bug that loses: the position is committed before the rows."""

    async def take(
        connection: Connection, model: ReadModel, before: Standing, events: Sequence[Recorded]
    ) -> Standing:
        await positions.advance(connection, before, events[-1].position)
        await crash(connection)
        await model.project(connection, events)
        return msgspec.structs.replace(before, position=events[-1].position)

    return take


def rows_apart(crash: Crash) -> TakeIn:
    """The planted bug that repeats: the rows are committed before the position."""

    async def take(
        connection: Connection, model: ReadModel, before: Standing, events: Sequence[Recorded]
    ) -> Standing:
        async with connection.transaction():
            await model.project(connection, events)
        await crash(connection)
        await positions.advance(connection, before, events[-1].position)
        return msgspec.structs.replace(before, position=events[-1].position)

    return take


@pytest.mark.parametrize(
    ("take", "expected"),
    [(together, EVENTS_TOLD), (position_apart, 0), (rows_apart, 2 * EVENTS_TOLD)],
)
async def test_a_crash_between_rows_and_position_loses_and_repeats_nothing(
    stage: Stage, take: Callable[[Crash], TakeIn], expected: int
) -> None:
    """The two planted variants commit rows and position apart, and the tally shows it."""
    await register(stage, 0, EVENTS_TOLD)
    async with stage.runner(tally(), take=take(crash_once())) as runner:
        assert await runner.wait(stage.last, "tally", PATIENCE_S)
        assert await told(stage) == expected


async def test_two_runners_apply_every_event_once(stage: Stage) -> None:
    async with stage.runner(tally()) as one, stage.runner(tally()) as two:
        await register(stage, 0, EVENTS_TOLD)
        assert await one.wait(stage.last, "tally", PATIENCE_S)
        assert await two.wait(stage.last, "tally", PATIENCE_S)
        assert await told(stage) == EVENTS_TOLD


async def test_whoever_stands_by_takes_over_when_the_running_one_goes(stage: Stage) -> None:
    async with stage.runner(tally()) as stays:
        async with stage.runner(tally()) as goes:
            await register(stage, 0, 3)
            assert await goes.wait(stage.last, "tally", PATIENCE_S)
        await register(stage, 3, 6)
        assert await stays.wait(stage.last, "tally", PATIENCE_S)
        assert await told(stage) == 6


async def test_a_runner_comes_back_when_its_connection_is_cut(stage: Stage) -> None:
    async with stage.runner(tally()) as runner:
        await register(stage, 0, 3)
        assert await runner.wait(stage.last, "tally", PATIENCE_S)
        backend = await runner_backend(stage, "tally")
        assert backend is not None
        async with await psycopg.AsyncConnection.connect(stage.dsn, autocommit=True) as admin:
            await admin.execute("SELECT pg_terminate_backend(%s)", (backend,))
        await register(stage, 3, 6)
        assert await runner.wait(stage.last, "tally", PATIENCE_S)
        assert await told(stage) == 6


@dataclass
class Reading:
    """A log between the real one and the runner."""

    log: LogReader

    async def read_tenant(
        self, tenant_id: TenantId, after: int, up_to: int, limit: int
    ) -> Sequence[Recorded]:
        return await self.log.read_tenant(tenant_id, after, up_to, limit)


@dataclass
class Without(Reading):
    """A log that has lost one position."""

    position: int

    async def read(self, after: int, limit: int) -> Sequence[Recorded]:
        found = await self.log.read(after, limit + 1)
        return [event for event in found if event.position != self.position][:limit]


async def test_a_gap_halts_before_it_and_nothing_behind_it_is_shown(stage: Stage) -> None:
    await register(stage, 0, 6)
    async with stage.runner(tally(), log=Without(stage.log, 4)) as runner:
        status = await halted(runner, tally())
        assert status.halt is not None
        assert (status.position, status.halt.position) == (3, 4)
        assert "GapInLog" in status.halt.error
        assert await told(stage) == 3


async def test_an_event_torn_out_of_the_stored_log_halts_too(stage: Stage) -> None:
    await register(stage, 0, 6)
    async with await psycopg.AsyncConnection.connect(stage.dsn, autocommit=True) as admin:
        await admin.execute("ALTER TABLE events DISABLE TRIGGER append_only")
        await admin.execute("DELETE FROM events WHERE position = 4")
    async with stage.runner(tally()) as runner:
        status = await halted(runner, tally())
        assert status.halt is not None
        assert "LogGap" in status.halt.error
        assert await told(stage) <= 3


@dataclass
class Older(Reading):
    """A log read by a process whose catalogue lacks the event at one position."""

    position: int | None

    async def read(self, after: int, limit: int) -> Sequence[Recorded]:
        if self.position is None or after + limit < self.position:
            return await self.log.read(after, limit)
        if after + 1 == self.position:
            raise UnknownEvent("device.painted", None, "is not in the catalogue")
        return await self.log.read(after, self.position - after - 1)


async def test_an_unknown_event_holds_visibly_until_it_is_known(stage: Stage) -> None:
    await register(stage, 0, 5)
    older = Older(stage.log, 3)
    async with stage.runner(tally(), log=older) as runner:
        status = await halted(runner, tally())
        assert status.halt is not None
        assert (status.halt.position, status.halt.event, status.halt.error) == (
            3,
            "device.painted",
            "UnknownEvent",
        )
        assert await told(stage) == 2
        older.position = None  # newer code has the log now: nobody needs to resume anything
        assert await runner.wait(stage.last, "tally", PATIENCE_S)
        assert await told(stage) == 5
        assert (await status_of(runner, tally())).halt is None


async def test_a_write_can_be_read_at_its_position(stage: Stage) -> None:
    """Nobody notifies and nobody polls here: whoever waits makes the read model look."""
    async with stage.runner(devices.READ_MODEL, pace=NEVER_POLLS) as runner:
        for number in range(5):
            position = await stage.record(device_id(number), device_registered())
            assert await runner.wait(position, "devices", PATIENCE_S)
            async with stage.as_tenant() as connection:
                row = await devices.by_id(connection, TENANT, device_id(number))
            assert row is not None
            assert row.position == position


async def test_the_tail_of_the_log_wakes_the_read_models(stage: Stage) -> None:
    tail = Tail(stage.dsn, EventMapper(EVENTS, UPCASTERS), after=0)
    async with stage.runner(tally(), pace=NEVER_POLLS) as runner:
        tail.subscribe(runner.heard)
        await tail.start()
        try:
            await register(stage, 0, 3)

            async def all_told() -> bool:
                return await told(stage) == 3

            await until(all_told)
        finally:
            await tail.close()


async def test_events_that_concern_nobody_move_the_position_too(stage: Stage) -> None:
    await stage.record(USER, user_signed_up())
    async with stage.runner(tally()) as runner:
        assert await runner.wait(1, "tally", PATIENCE_S)
        assert await told(stage) == 0


async def test_a_bug_outside_the_reducers_ends_the_runner_and_not_silently(stage: Stage) -> None:
    async def broken(
        connection: Connection, model: ReadModel, before: Standing, events: Sequence[Recorded]
    ) -> Standing:
        raise KeyboardInterruptLike

    class KeyboardInterruptLike(BaseException):
        """Not an Exception: nothing may take it for a poison event."""

    await register(stage, 0, 1)
    async with stage.runner(tally(count), take=broken) as runner:
        with pytest.raises(KeyboardInterruptLike):
            await runner.until_failure()
