"""`link-identity deliveries` as a script meets it, and what is measured of deliveries."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio
import rich_click as click

from application.ports import Attempted, Dead, Delivered, Delivery, RetryLater
from application.ports.deliveries import DeliveryPolicy, event_id
from domain.ids import wire
from infrastructure.delivery import progress
from infrastructure.delivery.progress import TenantWait
from infrastructure.metrics import Metrics
from interfaces.cli.commands import commands
from interfaces.measured import measure_deliveries
from tests.infrastructure.delivery.told import Tell, change, delivering, rows
from tests.infrastructure.projections.watching import device_id, register
from tests.interfaces.shell import Shell
from tests.projections.stage import PATIENCE_S, Stage, stage_on
from tests.spec import TENANT


@pytest_asyncio.fixture
async def stage(database: str) -> AsyncGenerator[Stage]:
    """Three deliveries of the kind `tell`: one arrived, one is dead, one is tried again."""
    answers: dict[int, Attempted] = {1: Delivered(200), 2: Dead("gone"), 3: RetryLater("busy")}

    async def answer(delivery: Delivery) -> Attempted:
        return answers[delivery.event.position]

    async with stage_on(database) as stage:
        tell = Tell(answer, DeliveryPolicy(delays_s=(80_000.0,)))
        async with delivering(stage, tell):
            await register(stage, 0, 3)
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    said = "SELECT * FROM delivery_attempts WHERE outcome IS NOT NULL"
                    if len(await rows(stage, said)) == 3:
                        break
                    await asyncio.sleep(0.01)
        yield stage


async def pending(stage: Stage) -> list[int]:
    """At which positions deliveries are pending; then as they were."""
    found = await rows(
        stage, "SELECT position FROM deliveries WHERE state = 'pending' ORDER BY position"
    )
    await change(
        stage,
        "UPDATE deliveries SET finished_at = now(),"
        " state = CASE position WHEN 1 THEN 'delivered' ELSE 'dead' END WHERE position < 3",
    )
    return [row["position"] for row in found]


async def test_what_is_not_delivered_is_seen_and_tried_again(stage: Stage, tmp_path: Path) -> None:
    shell = Shell(stage.dsn, tmp_path, "deliveries")
    (told,) = shell.run("status")
    assert told.pop("oldest_s") > 0
    assert told == {
        "kind": "tell",
        "position": 3,
        "halted_at_position": None,
        "halted_error": None,
        "halted_at": None,
        "tenants_waiting": 0,
        "pending": 1,
        "dead": 1,
        "waits": [],
    }

    first = wire("evt", event_id(device_id(0), 1))
    (second,) = await rows(stage, "SELECT recorded_at FROM deliveries WHERE position = 2")
    moment = second["recorded_at"].isoformat()
    for which, replayed in (
        (("--failed-only",), [2]),
        (("--event", first), [1]),
        (("--event", first, "--failed-only"), []),
        (("--since", moment), [2]),
        (("--until", moment), [1]),
    ):
        (answer,) = shell.run("replay", "tell", *which)
        assert answer == {"kind": "tell", "replayed": len(replayed)}, which
        assert await pending(stage) == [*replayed, 3], which

    assert shell.run("replay", "tel", "--failed-only", code=1) == []
    assert await pending(stage) == [3]


@pytest.mark.parametrize(
    "which", [("--event", "ten_1"), ("--since", "yesterday"), ("--until", "2026-03-01T00:00:00")]
)
async def test_what_cannot_be_meant_replays_nothing(
    stage: Stage, tmp_path: Path, which: tuple[str, str]
) -> None:
    Shell(stage.dsn, tmp_path, "deliveries").run("replay", "tell", *which, code=1)
    assert await pending(stage) == [3]


def test_everything_is_not_replayed_by_leaving_out_what() -> None:
    with pytest.raises(click.UsageError, match="--failed-only"):
        commands(["deliveries", "replay", "tell"], standalone_mode=False)


async def test_pending_dead_and_halted_are_measured_and_no_tenant_named(stage: Stage) -> None:
    metrics = Metrics()
    measure_deliveries(metrics, stage.projector)
    await change(stage, "UPDATE deliveries SET trying_since = now() - interval '1 hour'")
    told = (await metrics.exposition()).decode()
    for line in (
        'link_deliveries_pending{kind="tell"} 1.0',
        'link_deliveries_dead{kind="tell"} 1.0',
        'link_deliveries_halted{kind="tell"} 0.0',
    ):
        assert line in told
    (age,) = (
        float(line.split()[1])
        for line in told.splitlines()
        if line.startswith('link_deliveries_oldest_age_seconds{kind="tell"}')
    )
    assert age >= 3600
    assert TENANT.hex not in told

    halt = "UPDATE delivery_positions SET halted_at_position = 4, halted_at = now()"
    assert await change(stage, halt) == 1
    told = (await metrics.exposition()).decode()
    assert 'link_deliveries_halted{kind="tell"} 1.0' in told
    assert 'link_deliveries_waiting_tenants{kind="tell"} 0.0' in told


async def test_a_tenant_that_a_kind_waits_for_is_named_to_the_operator(
    stage: Stage, tmp_path: Path
) -> None:
    async with stage.projector.connection() as connection:
        stands, _ = await progress.read(connection, "tell")
        wait = TenantWait(
            kind="tell",
            tenant_id=TENANT,
            position=2,
            event="device.registered",
            error="ValueError in owed, x.py:3",
        )
        await progress.advance(connection, stands, stands.position, wait)
    (told,) = Shell(stage.dsn, tmp_path, "deliveries").run("status")
    assert told["tenants_waiting"] == 1
    (shown,) = told["waits"]
    assert shown.pop("since")
    assert shown == {
        "tenant": wire("ten", TENANT),
        "position": 2,
        "event": "device.registered",
        "error": "ValueError in owed, x.py:3",
    }
    metrics = Metrics()
    measure_deliveries(metrics, stage.projector)
    exposition = (await metrics.exposition()).decode()
    assert 'link_deliveries_waiting_tenants{kind="tell"} 1.0' in exposition
