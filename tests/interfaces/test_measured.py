"""What is measured of the read models: how far they are, and for how many they are wrong."""

from collections.abc import Sequence

import msgspec
import psycopg

from domain.events import Recorded
from infrastructure.database import Connection
from infrastructure.metrics import Metrics
from infrastructure.projections.digester import Digests
from interfaces.measured import measure_read_models
from projections import devices
from tests.infrastructure.projections.watching import halted_for, register
from tests.projections.stage import OTHER_TENANT, PATIENCE_S, stage_on
from tests.spec import TENANT


async def test_halted_and_diverging_tenants_are_counted_and_not_named(database: str) -> None:
    async def poison(connection: Connection, events: Sequence[Recorded]) -> None:
        if any(each.position == 2 for each in events):
            raise ValueError
        await devices.READ_MODEL.project(connection, events)

    model = msgspec.structs.replace(devices.READ_MODEL, project=poison)
    metrics = Metrics()
    async with stage_on(database) as stage:
        await register(stage, 0, 2)
        await register(stage, 100, 102, OTHER_TENANT)
        digests = Digests(stage.dsn, stage.log)
        async with stage.runner(model) as runner:
            measure_read_models(metrics, runner, digests)
            await halted_for(runner, model, TENANT)
            assert await runner.wait(stage.last, model.name, PATIENCE_S)
            async with await psycopg.AsyncConnection.connect(stage.dsn, autocommit=True) as admin:
                await admin.execute("UPDATE read_models.devices SET name = 'x' WHERE position = 3")
            await digests.state(devices.READ_MODEL, OTHER_TENANT, compared=True)
            told = (await metrics.exposition()).decode()
    for line in (
        'link_read_model_halted{read_model="devices"} 0.0',
        'link_read_model_halted_tenants{read_model="devices"} 1.0',
        'link_read_model_diverging_tenants{read_model="devices"} 1.0',
    ):
        assert line in told
    assert 'link_read_model_lag_seconds{read_model="devices"}' in told
    assert TENANT.hex not in told
