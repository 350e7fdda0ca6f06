"""Builds a read model anew beside the live one, which keeps serving, and swaps it in at the end.

A rebuild that is killed leaves nothing that counts: the next one begins anew. It does not go on
from where the other stood, since the code may have been mended in between.
"""

from typing import Final

import psycopg
import structlog

from domain.ids import TenantId
from infrastructure.database import Connection
from infrastructure.projections import halts, positions, tables
from infrastructure.projections.batch import GapInLog, heard
from infrastructure.projections.blame import RebuildRunning
from infrastructure.projections.halts import TenantHalt
from infrastructure.projections.log_window import LogReader
from infrastructure.projections.positions import Standing, rebuild_name
from infrastructure.projections.resumption import take_in_or_halt
from projections.read_model import ReadModel

SWAP_TRIES: Final = 60
"""How often a swap gives way to readers that hold the tables for more than `lock_timeout`."""

_GIVE_WAY: Final = "SET LOCAL lock_timeout = '1s'"

log = structlog.stdlib.get_logger(__name__)


class RebuildHalted(Exception):
    """An event cannot be taken in, so that its tenant would have fewer rows than it has now."""

    def __init__(self, halt: TenantHalt) -> None:
        self.halt = halt
        super().__init__(
            f"{halt.event} at position {halt.position} cannot be taken in: {halt.error}"
        )


async def rebuild(
    dsn: str,
    model: ReadModel,
    reader: LogReader,
    *,
    batch: int = 500,
    lose_tenants: bool = False,
) -> int:
    """Project the whole log into fresh tables and put them in the live ones' place.

    Answers with the position they stand at; it is not before the live one's. Halts of the live
    read model end with the swap, but for tenants whose event is still poison. With `lose_tenants`
    a tenant may halt that does not halt in the live one, as long as there are others: a newer
    version must not wait for one tenant.

    Raises RebuildRunning, RebuildHalted, and whatever the log raises: then the live tables stay
    as they were.
    """
    connection = await tables.connect(dsn, tables.NEXT)
    async with connection:
        if not await tables.try_rebuild_lock(connection, model.name):
            raise RebuildRunning
        building = _Rebuild(connection, model, reader, batch, lose_tenants=lose_tenants)
        position = await building.run()
        log.info("projection_rebuilt", projection=model.name, position=position)
        return position


class _Rebuild:
    """One run, over a connection of its own that holds the rebuild's lock."""

    def __init__(
        self,
        connection: Connection,
        model: ReadModel,
        reader: LogReader,
        batch: int,
        *,
        lose_tenants: bool,
    ) -> None:
        self._connection = connection
        self._model = model
        self._reader = reader
        self._batch = batch
        self._lose_tenants = lose_tenants
        self._tenants: set[TenantId] = set()

    async def run(self) -> int:
        built = await self._begin()
        tries_left = SWAP_TRIES
        while True:
            built = await self._to_the_end(built)
            await tables.analyze(self._connection, self._model)
            try:
                return await self._swap(built)
            except psycopg.errors.LockNotAvailable:
                tries_left -= 1
                if not tries_left:
                    raise

    async def _begin(self) -> Standing:
        """Empty tables at position 0, whatever an earlier rebuild may have left."""
        connection, model = self._connection, self._model
        name = rebuild_name(model.name)
        async with connection.transaction():
            await tables.drop(connection, tables.NEXT, model.tables)
            await positions.end(connection, name)
            await tables.create(connection, model)
            await positions.begin(connection, name, model.version, tables.ddl_sha256(model))
        standing = await positions.standing(connection, name)
        assert standing is not None, "its row was just written"
        return standing

    async def _to_the_end(self, standing: Standing) -> Standing:
        while True:
            standing, read = await self._some(standing)
            if read < self._batch:
                return standing

    async def _some(self, standing: Standing) -> tuple[Standing, int]:
        events = await self._reader.read(standing.position, self._batch)
        if events:
            self._tenants.update(each.tenant_id for each in heard(self._model, events))
            standing = await take_in_or_halt(self._connection, self._model, standing, events)
        return standing, len(events)

    async def _swap(self, built: Standing) -> int:
        """Hold the live one still, come to where it is, and take its place, in one transaction."""
        connection, model = self._connection, self._model
        async with connection.transaction():
            await connection.execute(_GIVE_WAY)
            live = await positions.standing(connection, model.name, locked=True)
            assert live is not None, "the runner makes every read model before it rebuilds one"
            while built.position < live.position:
                built, read = await self._some(built)
                if not read:
                    raise GapInLog(
                        f"the log ends at {built.position}, {live.name} at {live.position}"
                    )
            await self._refuse_losses(built)
            await tables.swap(connection, model)
            await positions.replace(
                connection, model.name, model.version, tables.ddl_sha256(model), built.position
            )
            await halts.take_over(connection, built.name, model.name)
            await positions.end(connection, built.name)
        return built.position

    async def _refuse_losses(self, built: Standing) -> None:
        found = await halts.halts_of(self._connection, built.name)
        if self._lose_tenants and self._tenants - {halt.tenant_id for halt in found}:
            return
        live = {
            halt.tenant_id: halt.position
            for halt in await halts.halts_of(self._connection, self._model.name)
        }
        for halt in found:
            if halt.position < live.get(halt.tenant_id, halt.position + 1):
                raise RebuildHalted(halt)
