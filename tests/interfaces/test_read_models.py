"""`link-identity projections` as a script meets it: JSON on stdout, and what the end says."""

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import msgspec
import psycopg
import pytest_asyncio

from domain.events import Recorded
from domain.ids import wire
from infrastructure.database import Connection
from projections import devices
from projections.catalogue import READ_MODELS
from tests.infrastructure.projections.watching import device_id, halted_for, register
from tests.interfaces.shell import Shell
from tests.projections.stage import PATIENCE_S, Stage, stage_on
from tests.spec import TENANT


@pytest_asyncio.fixture
async def stage(database: str) -> AsyncGenerator[Stage]:
    async with stage_on(database) as stage:
        yield stage


async def poison(connection: Connection, events: Sequence[Recorded]) -> None:
    if any(each.position == 2 for each in events):
        raise ValueError("Ali Al-Harbi")
    await devices.READ_MODEL.project(connection, events)


async def test_a_halt_is_seen_and_resumed_and_a_read_model_rebuilt(
    stage: Stage, tmp_path: Path
) -> None:
    model = msgspec.structs.replace(devices.READ_MODEL, project=poison)
    await register(stage, 0, 3)
    async with stage.runner(model) as runner:
        await halted_for(runner, model, TENANT)
        assert await runner.wait(stage.last, model.name, PATIENCE_S)
    shell = Shell(stage.dsn, tmp_path, "projections")
    ours = wire("ten", TENANT)

    (status,) = [each for each in shell.run("status") if each["name"] == "devices"]
    (halt,) = status["tenants_halted"]
    assert (halt["tenant"], halt["position"], halt["event"]) == (ours, 2, "device.registered")
    assert "ValueError in poison" in halt["error"]
    assert "Harbi" not in str(status)
    assert (status["position"], status["lag"], status["lag_s"]) == (3, 0, 0.0)

    assert shell.run("resume", "devices") == [
        {"name": "devices", "resumed": True, "everybody": False, "tenants": [ours]}
    ]
    assert shell.run("rebuild", "devices") == [{"name": "devices", "position": 3}]
    (status,) = [each for each in shell.run("status") if each["name"] == "devices"]
    assert status["tenants_halted"] == []
    async with stage.as_tenant() as connection:
        assert len((await devices.by_tenant(connection, TENANT)).rows) == 3


async def test_rows_are_stated_and_a_row_altered_by_sql_is_named(
    stage: Stage, tmp_path: Path
) -> None:
    await register(stage, 0, 3)
    await stage.show()
    shell = Shell(stage.dsn, tmp_path, "projections")
    ours = wire("ten", TENANT)
    (stated,) = shell.run("digest", "devices", "--tenant", ours)
    assert (stated["read_model"], stated["table"], stated["rows"]) == ("devices", "devices", 3)
    assert (stated["position"], len(stated["sha256"])) == (3, 64)

    checked = shell.run("check")
    assert [each["read_model"] for each in checked] == [model.name for model in READ_MODELS]
    assert all(each["ok"] for each in checked)
    async with await psycopg.AsyncConnection.connect(stage.dsn, autocommit=True) as admin:
        await admin.execute("UPDATE read_models.devices SET status = 'active' WHERE position = 2")
    (found,) = shell.run("check", "devices", "--tenant", ours, code=1)
    assert not found["ok"]
    assert found["differs"] == {
        "difference": "altered",
        "table": "devices",
        "key": {"device_id": str(device_id(1))},
        "tenant": ours,
        "position": 2,
    }
    shell.run("check", "users", "--tenant", ours)
