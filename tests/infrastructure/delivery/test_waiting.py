"""An event that cannot be judged makes its tenant wait: in the open, in order, without loss."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from application.ports import Owed, TenantMustWait
from domain.device import DeviceRegistered, DeviceRevoked
from domain.errors import Unavailable
from domain.events import DomainEvent, Recorded
from infrastructure.delivery import progress
from infrastructure.delivery.engine import DeliveryEngine
from infrastructure.delivery.progress import Overtaken, Progress, TenantWait
from infrastructure.delivery.standing import all_waits
from interfaces.log_lines import FIELDS
from tests.builders import device_registered, device_revoked
from tests.infrastructure.delivery.told import (
    HASTY,
    Tell,
    delivering,
    rows,
    until,
    until_over,
)
from tests.infrastructure.projections.watching import device_id, register
from tests.projections.stage import OTHER_TENANT, PATIENCE_S, Stage
from tests.spec import TENANT


class Stumbles(Tell):
    """Cannot judge the event at one position, until it is mended."""

    name = "stumbles"
    listens_to: tuple[type[DomainEvent], ...] = (DeviceRegistered, DeviceRevoked)
    broken_at: int | None = 3
    error: Exception = ValueError("what is this?")
    refused = 0

    async def owed(self, events: Sequence[Recorded]) -> Sequence[Owed]:
        if any(each.position == self.broken_at for each in events):
            self.refused += 1
            raise self.error
        return await super().owed(events)

    @property
    def told(self) -> list[int]:
        return [each.event.position for each in self.arrived]


async def wait_of(stage: Stage) -> TenantWait:
    """The one wait there is, once there is one."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await all_waits(stage.projector)
            if found:
                (wait,) = found
                return wait
            await asyncio.sleep(0.01)


async def until_waiting(stage: Stage, *positions: int) -> None:
    """Wait until these are the positions that tenants wait at; none: until nobody waits."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if [each.position for each in await all_waits(stage.projector)] == list(positions):
                return
            await asyncio.sleep(0.01)


async def story(stage: Stage) -> None:
    """Ours are 1, 2, then 3, which is broken, with 4 after it on one stream, and 10; 5 to 9 are
    theirs."""
    await register(stage, 0, 2)
    await stage.record(device_id(2), device_registered(), device_revoked())
    await register(stage, 10, 15, OTHER_TENANT)
    await register(stage, 3, 4)


THEIRS = [5, 6, 7, 8, 9]


async def test_one_tenants_poison_stops_nobody_else_and_loses_nothing(stage: Stage) -> None:
    """Seen to fail with the tenant's later events not held back (`each.tenant_id not in waiting`):
    4 and 10 came before 3; and with the wait ended without reading what was missed: 3 never came.
    """
    await story(stage)
    stumbles = Stumbles()
    with capture_logs() as lines:
        async with delivering(stage, stumbles) as engine:
            await until(lambda: set(THEIRS) <= set(stumbles.told) and stumbles.refused >= 3)
            wait = await wait_of(stage)
            assert (wait.kind, wait.tenant_id, wait.position) == ("stumbles", TENANT, 3)
            assert wait.event == "device.registered"
            assert wait.error.startswith("ValueError in owed")
            (standing,) = await engine.standings()
            assert (standing.halted_at, standing.tenants_waiting) == (None, 1)
            await register(stage, 20, 21, OTHER_TENANT)
            await until(lambda: 11 in stumbles.told)
            assert not set(stumbles.told) & {3, 4, 10}, "what follows waits with it"
            stumbles.broken_at = None
            await until_over(stage, 11)
            await until_waiting(stage)
            await register(stage, 4, 5)
            await until_over(stage, 12)
            (standing,) = await engine.standings()
    assert standing.tenants_waiting == 0
    assert sorted(stumbles.told) == list(range(1, 13)), "each once"
    ours = [position for position in stumbles.told if position in (3, 4)]
    assert ours == [3, 4], "in the order of their stream"
    line = next(each for each in lines if each["event"] == "delivery_tenant_halted")
    assert line["tenant"] == str(TENANT)
    assert "what is this?" not in str(line)
    for name in ("kind", "tenant", "position", "event_name", "error"):
        assert FIELDS[name](line[name]), name


async def test_a_tenant_that_waits_is_taken_up_by_another_process(stage: Stage) -> None:
    await story(stage)
    stumbles = Stumbles()
    async with delivering(stage, stumbles):
        await until(lambda: set(THEIRS) <= set(stumbles.told))
        await wait_of(stage)
    mended = Stumbles()
    mended.broken_at = None
    async with delivering(stage, mended):
        await until_over(stage, 10)
        await until_waiting(stage)
    assert sorted(stumbles.told + mended.told) == list(range(1, 11))


async def test_what_was_missed_comes_in_portions_and_stops_at_the_next_poison(
    stage: Stage,
) -> None:
    await register(stage, 0, 40)
    stumbles = Stumbles()
    follower = msgspec.structs.replace(HASTY.follower, batch=7)
    pace = msgspec.structs.replace(HASTY, follower=follower)
    async with DeliveryEngine(stage.dsn, stage.log, [stumbles], pace=pace):
        await until(lambda: stumbles.refused >= 3)
        stumbles.broken_at = 25
        await until(lambda: sorted(stumbles.told) == list(range(1, 25)))
        await until_waiting(stage, 25)
        stumbles.broken_at = None
        await until_over(stage, 40)
        await until_waiting(stage)
    assert sorted(stumbles.told) == list(range(1, 41))


async def test_a_kind_may_say_that_a_tenant_must_wait(stage: Stage) -> None:
    await story(stage)
    stumbles = Stumbles()
    stumbles.error = TenantMustWait("read_model_halted")
    with capture_logs() as lines:
        async with delivering(stage, stumbles):
            await until(lambda: set(THEIRS) <= set(stumbles.told))
            await wait_of(stage)
            stumbles.broken_at = None
            await until_over(stage, 10)
    line = next(each for each in lines if each["event"] == "delivery_tenant_waits")
    assert (line["reason"], line["tenant"]) == ("read_model_halted", str(TENANT))


@pytest.mark.parametrize("error", [Unavailable("event_log_unavailable")])
async def test_what_is_away_for_all_makes_no_tenant_wait(stage: Stage, error: Exception) -> None:
    await story(stage)
    stumbles = Stumbles()
    stumbles.error = error
    async with delivering(stage, stumbles) as engine:
        await until(lambda: stumbles.refused >= 3)
        assert not await all_waits(stage.projector)
        stumbles.broken_at = None
        await until_over(stage, 10)
        (standing,) = await engine.standings()
        assert (standing.halted_at, standing.tenants_waiting) == (None, 0)


async def test_a_follower_that_does_not_know_of_an_end_is_fenced_off(stage: Stage) -> None:
    """A follower that stood still while another ended a wait must not go on passing over that
    tenant. Seen to fail with the position alone as the fence, without `tenants_waiting`."""
    async with stage.projector.connection() as connection:
        await progress.begin(connection, "k")
        stands, _ = await progress.read(connection, "k")
        wait = TenantWait(kind="k", tenant_id=TENANT, position=3, event="e", error="E")
        asleep = await progress.advance(connection, stands, 5, wait)
        assert asleep == Progress(kind="k", position=5, waits=1)
        awake, waits = await progress.read(connection, "k")
        assert [each.position for each in waits] == [3]
        await progress.end(connection, awake, TENANT)
        with pytest.raises(Overtaken):
            await progress.advance(connection, asleep, 9)
        with pytest.raises(Overtaken):
            await progress.move(connection, asleep, wait)
        with pytest.raises(Overtaken):
            await progress.end(connection, asleep, TENANT)
        assert (await progress.read(connection, "k"))[0] == Progress(kind="k", position=5, waits=0)


async def test_rows_and_wait_are_one_transaction(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies when the position has moved past the event, and its tenant does not wait
    yet, has written neither. Seen to fail without the transaction in `Follower._write`: nobody was
    ever told of the event."""
    await story(stage)
    died = asyncio.Event()
    real: Any = progress.advance

    async def die(connection: Any, before: Progress, position: int, wait: Any = None) -> Progress:
        if wait is not None and not died.is_set():
            await real(connection, before, position)
            died.set()
            raise Overtaken("k")
        moved: Progress = await real(connection, before, position, wait)
        return moved

    monkeypatch.setattr(progress, "advance", die)
    stumbles = Stumbles()
    async with delivering(stage, stumbles):
        await died.wait()
        await until(lambda: set(THEIRS) <= set(stumbles.told))
        stumbles.broken_at = None
        await until_over(stage, 10)
    found = await rows(stage, "SELECT position FROM deliveries ORDER BY position")
    assert [row["position"] for row in found] == list(range(1, 11))
