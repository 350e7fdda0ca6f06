"""A stage for read models: the real log to write to, the real runner, and a tenant's eyes."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final
from uuid import UUID, uuid4

from psycopg import sql

from domain.catalogue import EVENTS, UPCASTERS
from domain.events import DomainEvent, Origin, StreamAppend
from domain.ids import TenantId
from infrastructure.database import (
    APP_ROLE,
    PROJECTOR_ROLE,
    Connection,
    Pool,
    pool,
    tenant_scope,
)
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.event_log.mapper import EventMapper
from infrastructure.projections.batch import TakeIn, take_in
from infrastructure.projections.log_window import LogReader
from infrastructure.projections.projector import Pace
from infrastructure.projections.runner import ProjectionRunner
from projections.catalogue import READ_MODELS
from projections.read_model import ReadModel
from tests.spec import CORRELATION, TENANT

OTHER_TENANT: Final = TenantId(UUID("0198c000-0000-7000-8000-0000000000ff"))
EAGER: Final = Pace(live_interval_s=0.0, poll_s=0.05)
PATIENCE_S: Final = 20.0


class Stage:
    """One database with its log; `projector` sees everything, `as_tenant` what a tenant sees."""

    def __init__(self, dsn: str, log: PostgresEventLog, projector: Pool, app: Pool) -> None:
        self.dsn = dsn
        self.log = log
        self.projector = projector
        self.app = app
        self.last = 0
        self._versions: dict[UUID, int] = {}

    async def record(
        self,
        stream_id: UUID,
        *events: DomainEvent,
        tenant_id: TenantId = TENANT,
        actor: str = "system:test",
        correlation_id: UUID = CORRELATION,
    ) -> int:
        """Append to a stream, after what this stage appended before; the last position."""
        version = self._versions.get(stream_id, 0)
        appended = await self.log.append(
            Origin(actor=actor, correlation_id=correlation_id, command_id=uuid4()),
            [
                StreamAppend(
                    tenant_id=tenant_id,
                    stream_id=stream_id,
                    expected_version=version,
                    events=events,
                )
            ],
        )
        self._versions[stream_id] = version + len(events)
        self.last = appended.last_position
        return self.last

    def runner(
        self,
        *models: ReadModel,
        pace: Pace = EAGER,
        take: TakeIn = take_in,
        log: LogReader | None = None,
    ) -> ProjectionRunner:
        """A runner of these read models (all, when none is named), not yet started."""
        return ProjectionRunner(
            self.dsn,
            log or self.log,
            self.projector,
            models=models or READ_MODELS,
            pace=pace,
            take=take,
        )

    async def show(self, *models: ReadModel, pace: Pace = EAGER) -> None:
        """Run these read models until they show everything, then stop."""
        async with self.runner(*models, pace=pace) as runner:
            await self.caught_up(runner, *models)

    async def caught_up(self, runner: ProjectionRunner, *models: ReadModel) -> None:
        for model in models or READ_MODELS:
            assert await runner.wait(self.last, model.name, PATIENCE_S), model.name

    def as_tenant(self, tenant_id: TenantId = TENANT) -> AbstractAsyncContextManager[Connection]:
        """A transaction of the application, which sees this tenant only."""
        return tenant_scope(self.app, tenant_id)

    async def rows(self, *models: ReadModel) -> dict[str, Sequence[str]]:
        """Every row of every tenant of the tables of these read models, as text, sorted."""
        found: dict[str, Sequence[str]] = {}
        async with self.projector.connection() as connection:
            for table in [table for model in models for table in model.tables]:
                query = sql.SQL("SELECT to_json(t)::text AS row FROM {} t ORDER BY row").format(
                    sql.Identifier("read_models", table)
                )
                cursor = await connection.execute(query)
                found[table] = [row for (row,) in await cursor.fetchall()]
        return found


@asynccontextmanager
async def stage_on(dsn: str) -> AsyncGenerator[Stage]:
    """Open a stage on this database and take it down again."""
    log = await PostgresEventLog.open(dsn, EventMapper(EVENTS, UPCASTERS))
    try:
        async with pool(dsn, PROJECTOR_ROLE) as projector, pool(dsn, APP_ROLE) as app:
            yield Stage(dsn, log, projector, app)
    finally:
        await log.close()
