"""What events owe is written exactly once, whoever follows the log and whatever is rebuilt."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import msgspec
import psycopg
from structlog.testing import capture_logs

from application.ports import Owed
from application.ports.deliveries import delivery_id, event_id
from domain.errors import Unavailable
from domain.events import Recorded
from infrastructure.delivery.engine import DeliveryEngine
from interfaces.log_lines import FIELDS
from projections import devices
from tests.builders import device_registered, linked_service_registered
from tests.infrastructure.delivery.told import (
    HASTY,
    SHOP,
    Tell,
    change,
    delivering,
    states,
    until,
    until_over,
)
from tests.infrastructure.projections.watching import device_id, register
from tests.projections.stage import Stage


async def test_an_event_is_delivered_under_an_id_made_of_event_and_destination(
    stage: Stage,
) -> None:
    tell = Tell()
    async with delivering(stage, tell) as engine:
        position = await stage.record(device_id(1), device_registered())
        engine.heard(await stage.log.read(position - 1, 1))
        await until_over(stage, 1)
    (told,) = tell.arrived
    event = event_id(device_id(1), 1)
    assert (told.event.id, told.id) == (event, delivery_id("tell", event, SHOP))
    assert (told.event.name, told.event.position) == ("device.registered", position)
    assert (told.attempt, told.failing_since) == (1, None)


async def test_two_processes_deliver_each_event_once(stage: Stage) -> None:
    """Seen to fail without leases: some arrived twice.

    Not seen to fail without the fence on the position: a lock lets one process write, and the
    rows' ids keep what is written twice single.
    """
    tells = Tell(), Tell()
    async with delivering(stage, tells[0]), delivering(stage, tells[1]):
        await register(stage, 0, 120)
        await until_over(stage, 120)
    arrived = Counter(told.event.position for tell in tells for told in tell.arrived)
    assert arrived == dict.fromkeys(range(1, 121), 1)


async def test_a_kind_that_is_new_is_told_of_the_whole_log(stage: Stage) -> None:
    await register(stage, 0, 7)
    await stage.record(device_id(100), linked_service_registered())
    tell = Tell()
    async with delivering(stage, tell):
        await until_over(stage, 7)
        await stage.record(device_id(7), device_registered())
        await until_over(stage, 8)
    assert [told.event.position for told in tell.arrived[-1:]] == [9]
    assert tell.asked == 8, "it is not asked about events that it does not listen to"


async def test_what_was_written_is_not_written_again_when_the_process_comes_back(
    stage: Stage,
) -> None:
    await register(stage, 0, 5)
    tells = Tell(), Tell(), Tell()
    for tell in tells:
        async with delivering(stage, tell):
            await until_over(stage, 5)
    assert [len(tell.arrived) for tell in tells] == [5, 0, 0]


async def test_a_rebuilt_read_model_owes_nothing(stage: Stage) -> None:
    await register(stage, 0, 5)
    tell = Tell()
    async with delivering(stage, tell), stage.runner(devices.READ_MODEL) as runner:
        await until_over(stage, 5)
        await stage.caught_up(runner, devices.READ_MODEL)
        await runner.rebuild(devices.READ_MODEL.name)
        await stage.record(device_id(5), device_registered())
        await until_over(stage, 6)
    assert len(tell.arrived) == 6


async def test_a_position_that_was_set_back_delivers_nothing_twice(stage: Stage) -> None:
    tell = Tell()
    async with delivering(stage, tell):
        await register(stage, 0, 5)
        await until_over(stage, 5)
        assert await change(stage, "UPDATE delivery_positions SET position = 0") == 1
        await register(stage, 5, 6)
        await until_over(stage, 6)
    assert Counter(told.event.position for told in tell.arrived) == dict.fromkeys(range(1, 7), 1)


class Ponders(Tell):
    """Takes longer to judge than a session may be silent."""

    async def owed(self, events: Sequence[Recorded]) -> Sequence[Owed]:
        await asyncio.sleep(9.0)
        return await super().owed(events)


async def test_a_kind_that_judges_slowly_gets_through(stage: Stage) -> None:
    """Seen to fail when nothing is said while it judges: the session ends, and it begins anew."""
    await register(stage, 0, 2)
    ponders = Ponders()
    follower = msgspec.structs.replace(HASTY.follower, frozen_s=6.0)
    pace = msgspec.structs.replace(HASTY, follower=follower)
    async with DeliveryEngine(stage.dsn, stage.log, [ponders], pace=pace):
        await until_over(stage, 2)
    assert len(ponders.arrived) == 2


class Waits(Tell):
    """Needs something for one event that is not there yet."""

    name = "waits"
    missing = True
    refused = 0

    async def owed(self, events: Sequence[Recorded]) -> Sequence[Owed]:
        if self.missing and any(each.position == 2 for each in events):
            self.refused += 1
            raise Unavailable("position_not_reached")
        return await super().owed(events)


async def test_a_kind_that_waits_says_so_and_since_when(stage: Stage) -> None:
    """It once waited in silence: without a line, and with the standing of a healthy kind."""
    waits = Waits()
    with capture_logs() as lines:
        async with delivering(stage, waits) as engine:
            await register(stage, 0, 3)
            await until(lambda: len(waits.arrived) == 1 and waits.refused >= 2)
            seen = list(await engine.standings())
            again = waits.refused + 2
            await until(lambda: waits.refused >= again)
            seen += await engine.standings()
            waits.missing = False
            await until_over(stage, 3)
            (healthy,) = await engine.standings()
    assert [each.halted_at_position for each in seen] == [2, 2]
    assert (seen[0].halted_error or "").startswith("Unavailable in owed")
    assert seen[0].halted_at == seen[1].halted_at, "since when, and not when it last tried"
    assert (healthy.halted_at, healthy.halted_error) == (None, None)
    line = next(each for each in lines if each["event"] == "delivery_kind_waits")
    assert (line["kind"], line["after"], line["reason"]) == ("waits", 1, "position_not_reached")
    assert FIELDS["error"](line["error"])
    assert FIELDS["reason"](line["reason"])


class Declines(Tell):
    """Owes what it does not even try."""

    async def owed(self, events: Sequence[Recorded]) -> Sequence[Owed]:
        owed = await super().owed(events)
        return [msgspec.structs.replace(each, dead="off") for each in owed]


async def test_what_is_owed_dead_is_not_tried(stage: Stage) -> None:
    declines = Declines()
    async with delivering(stage, declines):
        await register(stage, 0, 2)
        await until_over(stage, 2)
    assert await states(stage) == [("dead", "off")] * 2
    assert not declines.arrived


async def test_the_connections_may_be_lost(stage: Stage) -> None:
    tell = Tell()
    async with delivering(stage, tell):
        await register(stage, 0, 3)
        await until_over(stage, 3)
        with psycopg.connect(stage.dsn, autocommit=True) as admin:
            ended = admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND query LIKE ANY (ARRAY['%deliver%', '%pg_try_advisory_lock%'])"
            ).fetchall()
        assert ended
        await stage.projector.check()
        await register(stage, 3, 6)
        await until_over(stage, 6)
    assert {told.event.position for told in tell.arrived} == set(range(1, 7))
