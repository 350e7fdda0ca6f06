"""Connections to Postgres: which role they act as, and the tenant they may see.

Three roles share one database (created by the migrations, none can log in by itself):

    link_owner      owns tables and functions; only migrations act as it
    link_app        reads under row-level security, appends through the log's function
    link_projector  reads the whole log and writes the read models

A connection takes its role in the start-up packet, so no statement of ours ever runs as the
role that logged in. Row-level security reads the tenant from `link.tenant_id`.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

APP_ROLE: Final = "link_app"
PROJECTOR_ROLE: Final = "link_projector"

Connection = AsyncConnection[TupleRow]
Pool = AsyncConnectionPool[Connection]

SET_TENANT: Final[LiteralString] = "SELECT set_config('link.tenant_id', %s, true)"


def acting_as(dsn: str, role: str) -> str:
    """The same database, with every session acting as `role` from its first statement on."""
    given: dict[str, Any] = conninfo_to_dict(dsn)
    options = f"{given.pop('options', '') or ''} -c role={role}".strip()
    return make_conninfo("", **given, options=options)


def pool(dsn: str, role: str, *, connections_max: int = 8) -> Pool:
    """A closed pool; open it with `await pool.open()`. Sessions are in autocommit mode."""
    return AsyncConnectionPool(
        acting_as(dsn, role),
        connection_class=AsyncConnection[TupleRow],
        min_size=1,
        max_size=connections_max,
        open=False,
        kwargs={"autocommit": True},
    )


@asynccontextmanager
async def tenant_scope(source: Pool, tenant_id: UUID) -> AsyncGenerator[Connection]:
    """One transaction that sees one tenant; the setting ends with the transaction."""
    async with source.connection() as connection, connection.transaction():
        await connection.execute(SET_TENANT, (str(tenant_id),))
        yield connection
