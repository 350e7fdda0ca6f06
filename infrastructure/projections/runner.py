"""Runs all read models of a process side by side, and answers where each of them stands."""

import asyncio
from collections.abc import Sequence

import msgspec

from domain.events import Recorded
from domain.ids import TenantId
from infrastructure.database import Pool
from infrastructure.endings import end
from infrastructure.projections import halts, positions, rebuild, tables
from infrastructure.projections.batch import TakeIn, take_in
from infrastructure.projections.comparison import Comparison, compare
from infrastructure.projections.log_window import LogReader, LogWindow
from infrastructure.projections.position_watch import PositionWatch
from infrastructure.projections.projector import Pace, Projector
from infrastructure.projections.status import ProjectionStatus, status
from projections.catalogue import READ_MODELS
from projections.read_model import ReadModel


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    """Who tries again: `everybody` when the whole read model stood still, and these tenants."""

    everybody: bool
    tenants: Sequence[TenantId]

    def __bool__(self) -> bool:
        return self.everybody or bool(self.tenants)


class ProjectionRunner:
    """Keeps every read model up to date for as long as it is open.

    `heard` is a subscriber for the log's tail; without it new events are found within
    `pace.poll_s`. Several processes may run the same read models: of each, one runs and the
    others stand by. One halting does not touch the others.
    """

    def __init__(
        self,
        dsn: str,
        log: LogReader,
        pool: Pool,
        *,
        models: Sequence[ReadModel] = READ_MODELS,
        pace: Pace | None = None,
        take: TakeIn = take_in,
    ) -> None:
        """`pool` serves short questions about positions; it is link_projector's."""
        self._dsn = dsn
        self._pool = pool
        self._log = log
        self._pace = pace or Pace()
        self._models = {model.name: model for model in models}
        self._watch = PositionWatch(pool)
        self._window = LogWindow(log)
        self._projectors = {
            model.name: Projector(dsn, model, self._window, self._watch, self._pace, take)
            for model in models
        }
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "ProjectionRunner":
        """Make what is missing, then run. Raises ReadModelChanged, psycopg.Error."""
        await tables.ensure(self._dsn, list(self._models.values()))
        self._tasks = [
            asyncio.create_task(projector.run(), name=f"projection {name}")
            for name, projector in self._projectors.items()
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._tasks)
        await self._watch.close()

    async def until_failure(self) -> None:
        """Return only by raising what ended a projector: a bug, for the process to die of."""
        await asyncio.gather(*self._tasks)

    def heard(self, events: Sequence[Recorded]) -> None:
        """There are new events: these, consecutive, as the log's tail delivers them."""
        self._window.offer(events)
        for projector in self._projectors.values():
            projector.wake()

    async def wait(self, min_position: int, name: str, timeout_s: float) -> bool:
        """True once `name` shows everything up to `min_position`; False after `timeout_s`.

        Raises KeyError for a read model that there is not, psycopg.Error.
        """
        projector = self._projectors[name]
        if not self._watch.has_reached(min_position, name):
            projector.hurry()
        return await self._watch.wait(min_position, name, timeout_s)

    async def status(self) -> Sequence[ProjectionStatus]:
        """Every read model that there is or is being rebuilt, whoever runs it."""
        async with self._pool.connection() as connection:
            return await status(connection)

    async def resume(self, name: str, tenant_id: TenantId | None = None) -> Resumed:
        """Let a halted read model try again, in whichever process it runs; who tries.

        With a tenant, only that one's rows. It goes on with the event that it halted at. Raises
        KeyError for a read model that there is not.
        """
        projector = self._projectors[name]
        async with self._pool.connection() as connection, connection.transaction():
            everybody = tenant_id is None and await positions.resume(connection, name)
            tenants = await halts.resume(connection, name, tenant_id)
        projector.resume()
        return Resumed(everybody=everybody, tenants=tenants)

    def runs_here(self, name: str) -> bool:
        """Whether this process is the one that runs the read model."""
        return self._watch.runs_here(name)

    async def compare(self, name: str, tenant_id: TenantId | None = None) -> Comparison:
        """Whether the rows are what the log says, of one tenant or of all.

        Raises OtherVersion, CannotCompare, and what the log raises.
        """
        return await compare(
            self._dsn, self._models[name], self._log, tenant_id=tenant_id, batch=self._pace.batch
        )

    async def rebuild(self, name: str) -> int:
        """Build `name` anew beside the live tables and swap; the position it then stands at.

        Raises RebuildRunning, RebuildHalted, and what the log raises; the live one then stays.
        """
        position = await rebuild.rebuild(
            self._dsn, self._models[name], self._log, batch=self._pace.batch
        )
        self._projectors[name].wake()
        return position
