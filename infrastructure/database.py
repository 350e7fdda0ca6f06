"""Connections to Postgres: which role they act as, and the tenant they may see.

Three roles share one database (created by the migrations, none can log in by itself):

    link_owner      owns tables and functions; migrations and the rotation of keys act as it
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

OWNER_ROLE: Final = "link_owner"
APP_ROLE: Final = "link_app"
PROJECTOR_ROLE: Final = "link_projector"

Connection = AsyncConnection[TupleRow]
Pool = AsyncConnectionPool[Connection]

PATIENCE: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""How long a silent network is believed in (libpq's names; seconds, the last in milliseconds).
Without these a connection whose server vanished would wait for a quarter of an hour."""

POOL_WAIT_S: Final = 2.0
"""How long a request waits for a connection; then it is told to come again."""

DUTY_WAIT_S: Final = 30.0
"""How long what is done in the background waits for one: nobody stands at its end."""

GIVE_UP_S: Final = 5.0
"""After so long a pool stops trying for a connection of its own accord and tries anew for the next
who asks: its pauses would otherwise grow to minutes, and outlast an outage by as much."""

SET_TENANT: Final[LiteralString] = "SELECT set_config('link.tenant_id', %s, true)"


def acting_as(dsn: str, role: str) -> str:
    """The same database, with every session acting as `role` from its first statement on.

    What the DSN says of time-outs stands; `PATIENCE` is for what it does not say.
    """
    given: dict[str, Any] = PATIENCE | conninfo_to_dict(dsn)
    options = f"{given.pop('options', '') or ''} -c role={role}".strip()
    return make_conninfo("", **given, options=options)


def pool(
    dsn: str,
    role: str,
    *,
    connections_min: int = 1,
    connections_max: int = 8,
    wait_s: float = POOL_WAIT_S,
) -> Pool:
    """A closed pool; open it with `await pool.open()`. Sessions are in autocommit mode.

    `connection()` raises psycopg_pool.PoolTimeout, a psycopg.OperationalError, when none is free
    within `wait_s`.
    """
    return AsyncConnectionPool(
        acting_as(dsn, role),
        connection_class=AsyncConnection[TupleRow],
        min_size=connections_min,
        max_size=connections_max,
        open=False,
        timeout=wait_s,
        reconnect_timeout=GIVE_UP_S,
        kwargs={"autocommit": True},
    )


@asynccontextmanager
async def tenant_scope(source: Pool, tenant_id: UUID) -> AsyncGenerator[Connection]:
    """One transaction that sees one tenant; the setting ends with the transaction."""
    async with source.connection() as connection, connection.transaction():
        await connection.execute(SET_TENANT, (str(tenant_id),))
        yield connection
