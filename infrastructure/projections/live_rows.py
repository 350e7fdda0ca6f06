"""What a read model shows at one position: live rows and where they stand, in one snapshot."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec
from psycopg import sql

from domain.ids import TenantId
from domain.projection import TableDigest
from infrastructure.database import Connection
from infrastructure.projections import halts, positions, tables
from infrastructure.projections.table_rows import Table, table
from projections.read_model import ReadModel


class OtherVersion(Exception):
    """The live tables are of another version of the read model than this code's."""


class LiveRows(msgspec.Struct, frozen=True, kw_only=True):
    """Everything up to `position`, but for tenants in `missing_from`: theirs are from before."""

    connection: Connection
    position: int
    missing_from: Mapping[TenantId, int]
    tables: Sequence[Table]

    async def digests(self, tenant_id: TenantId) -> tuple[TableDigest, ...]:
        return tuple([await each.digest(self.connection, tenant_id) for each in self.tables])


@asynccontextmanager
async def live_rows(connection: Connection, model: ReadModel) -> AsyncGenerator[LiveRows]:
    """One snapshot of a read model, for as long as the transaction lasts.

    `connection` is the projector's. Nothing is held up but a rebuild's swap. Raises OtherVersion.
    """
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        # Before the snapshot: a table that a swap puts there after it would look empty in it.
        names = sql.SQL(", ").join(sql.Identifier(tables.LIVE, name) for name in model.tables)
        await connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))
        standing = await positions.standing(connection, model.name)
        if standing is None or standing.version != model.version:
            raise OtherVersion(f"the tables of {model.name} are not of version {model.version}")
        yield LiveRows(
            connection=connection,
            position=standing.position,
            missing_from={
                halt.tenant_id: halt.position
                for halt in await halts.halts_of(connection, model.name)
            },
            tables=[await table(connection, tables.LIVE, name) for name in model.tables],
        )
