"""Replays events into tables of a connection's own, which nobody else sees and no kill leaves.

The tables are temporary, so a replay touches neither the live ones nor those of a rebuild, and
writes no WAL. The events come from whoever has them: the log, or an export of it.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final, LiteralString

from domain.events import Recorded
from domain.ids import TenantId
from domain.projection import TableDigest
from infrastructure.database import Connection
from infrastructure.projections import tables
from infrastructure.projections.batch import heard
from infrastructure.projections.table_rows import Table, table
from projections.read_model import ReadModel

OWN: Final[LiteralString] = "pg_temp"


class Replay:
    """Some read models, from before the first event; hand events in the order of the log."""

    def __init__(self, connection: Connection, models: Sequence[ReadModel]) -> None:
        self.connection = connection
        self._models = {model.name: model for model in models}

    async def make(self) -> None:
        """Make the tables, empty. Raises psycopg.Error."""
        for model in self._models.values():
            await self.connection.execute(model.ddl)

    async def take(self, events: Sequence[Recorded]) -> None:
        """Bring the rows up to date. Raises what a reducer raises; then nothing has changed."""
        async with self.connection.transaction():
            for model in self._models.values():
                relevant = heard(model, events)
                if relevant:
                    await model.project(self.connection, relevant)

    async def tables(self, name: str) -> Sequence[Table]:
        """The tables of a read model. Raises KeyError for one that is not replayed."""
        return [await table(self.connection, OWN, each) for each in self._models[name].tables]

    async def digests(self, name: str, tenant_id: TenantId) -> tuple[TableDigest, ...]:
        """What the read model would state of the tenant now (`projection.digested`)."""
        async with self.connection.transaction():
            return tuple(
                [await each.digest(self.connection, tenant_id) for each in await self.tables(name)]
            )


@asynccontextmanager
async def replaying(dsn: str, models: Sequence[ReadModel]) -> AsyncGenerator[Replay]:
    """A replay over a connection of its own, gone with it. Raises psycopg.Error."""
    connection = await tables.connect(dsn, OWN)
    async with connection:
        replay = Replay(connection, models)
        await replay.make()
        yield replay
