"""What the tests of the runner watch: a tally that shows every loss and every repetition."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

from psycopg import sql

from domain.device import DeviceRegistered
from domain.events import Recorded
from domain.ids import DeviceId, TenantId
from infrastructure.database import Connection
from infrastructure.projections.halts import TenantHalt
from infrastructure.projections.runner import ProjectionRunner
from infrastructure.projections.status import ProjectionStatus
from projections.read_model import ReadModel
from tests.builders import DEVICE, device_registered
from tests.projections.stage import PATIENCE_S, Stage
from tests.spec import TENANT

Project = Callable[[Connection, Sequence[Recorded]], Awaitable[None]]

_COUNT: Final = """
    INSERT INTO tally (tenant_id, told) VALUES (%s, 1)
    ON CONFLICT (tenant_id) DO UPDATE SET told = tally.told + 1
"""


async def count(connection: Connection, events: Sequence[Recorded]) -> None:
    """Not idempotent, on purpose: an event told twice counts twice."""
    for recorded in events:
        await connection.execute(_COUNT, (recorded.tenant_id,))


def tally(project: Project = count, version: int = 1) -> ReadModel:
    """A read model that counts devices."""
    return ReadModel(
        name="tally",
        version=version,
        tables=("tally",),
        ddl="CREATE TABLE tally (tenant_id uuid PRIMARY KEY, told bigint NOT NULL)",
        listens_to=(DeviceRegistered,),
        project=project,
    )


async def told(stage: Stage, tenant_id: TenantId | None = None) -> int:
    """How many devices were counted, of one tenant or of all."""
    async with stage.projector.connection() as connection:
        cursor = await connection.execute(
            "SELECT coalesce(sum(told), 0) FROM read_models.tally "
            "WHERE %s::uuid IS NULL OR tenant_id = %s",
            (tenant_id, tenant_id),
        )
        found = await cursor.fetchone()
    assert found is not None
    return int(found[0])


def device_id(number: int) -> DeviceId:
    return DeviceId(UUID(int=DEVICE.int + number))


async def register(stage: Stage, first: int, last: int, tenant_id: TenantId = TENANT) -> None:
    """One device per number, one event each."""
    for number in range(first, last):
        await stage.record(device_id(number), device_registered(), tenant_id=tenant_id)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what must come to be, and fail when it does not."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.005)


async def status_of(runner: ProjectionRunner, model: ReadModel) -> ProjectionStatus:
    return next(status for status in await runner.status() if status.name == model.name)


async def halted_for(runner: ProjectionRunner, model: ReadModel, tenant_id: TenantId) -> TenantHalt:
    """Why a read model stands still for a tenant, once it does and nobody tries again."""
    found: list[TenantHalt] = []

    async def is_halted() -> bool:
        tenants = (await status_of(runner, model)).tenants_halted
        found[:] = [halt for halt in tenants if halt.tenant_id == tenant_id and not halt.resuming]
        return bool(found)

    await until(is_halted)
    return found[0]


async def halted(runner: ProjectionRunner, model: ReadModel) -> ProjectionStatus:
    """The status of a read model once it has halted for everybody."""

    async def is_halted() -> bool:
        return (await status_of(runner, model)).halt is not None

    await until(is_halted)
    return await status_of(runner, model)


async def runner_backend(stage: Stage, name: str) -> int | None:
    """The server process of whoever holds the run lock of this read model."""
    query = sql.SQL(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted "
        "AND classid = 7310582 AND objid = hashtext({})::oid "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).format(sql.Literal(name))
    async with stage.projector.connection() as connection:
        cursor = await connection.execute(query)
        found = await cursor.fetchone()
    return None if found is None else found[0]
