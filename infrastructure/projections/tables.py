"""Makes the tables of read models, walls them in, and swaps a rebuilt set for the live one.

Read models live in a schema of their own, `read_models`, and are owned by link_projector: it has
to create, drop and swap them, and owning what can be made again from the log gives it nothing
that reading the whole log did not. It never acts as link_owner, which owns the log. Every table
has row-level security enabled and forced, so the owner too sees rows only by a policy; link_app
has SELECT, under the policy of its tenant, and nothing else.

A rebuild fills tables of the same names in `read_models_next`. The swap moves tables, indexes,
policies and grants over in one transaction; bare names in a read model's SQL mean one or the
other set by the connection's search path.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from infrastructure.database import APP_ROLE, PROJECTOR_ROLE, Connection, acting_as
from infrastructure.projections import positions
from projections.read_model import ReadModel

LIVE: Final[LiteralString] = "read_models"
NEXT: Final[LiteralString] = "read_models_next"

# Any number will do that no other advisory lock of ours begins with.
_RUNNING: Final = 7310582
_REBUILDING: Final = 7310583
_MAKING: Final = 7310584

_WALL: Final = """
    ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
    ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
    CREATE POLICY one_tenant ON {table} FOR SELECT TO {app}
        USING (tenant_id = nullif(current_setting('link.tenant_id', true), '')::uuid);
    CREATE POLICY every_tenant ON {table} TO {projector} USING (true) WITH CHECK (true);
    GRANT SELECT ON {table} TO {app};
"""


class ReadModelChanged(Exception):
    """A read model's DDL differs from that of its tables, and its version does not."""


async def connect(dsn: str, schema: LiteralString) -> Connection:
    """A connection of the projector whose bare table names mean `schema`.

    Its commits do not wait for the disk: after a crash of the server rows and position are back
    at an earlier moment together, and what was lost is read from the log again.
    """
    given: dict[str, Any] = conninfo_to_dict(dsn)
    options = f"{given.pop('options', '') or ''} -c search_path={schema}"
    ours = make_conninfo(
        "", **given, options=f"{options} -c synchronous_commit=off -c timezone=UTC"
    )
    return await psycopg.AsyncConnection[TupleRow].connect(
        acting_as(ours, PROJECTOR_ROLE), autocommit=True, connect_timeout=5
    )


async def ensure(dsn: str, models: Sequence[ReadModel]) -> None:
    """Make the tables and positions that are missing; several processes may do so at once.

    A read model whose tables are of an older version is left as it is: its runner rebuilds it.
    Raises ReadModelChanged, psycopg.Error.
    """
    connection = await connect(dsn, LIVE)
    async with connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MAKING,))
        await connection.execute(
            sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(
                sql.Identifier(LIVE), sql.Identifier(APP_ROLE)
            )
        )
        for model in models:
            found = await positions.standing(connection, model.name)
            if found is None:
                await create(connection, model)
                await positions.begin(connection, model.name, model.version, ddl_sha256(model))
            elif found.version == model.version and found.ddl_sha256 != ddl_sha256(model):
                raise ReadModelChanged(
                    f"the DDL of {model.name} has changed: give it a new version"
                )


def ddl_sha256(model: ReadModel) -> str:
    """What tells two forms of the tables apart, however the text is laid out."""
    return hashlib.sha256(" ".join(model.ddl.split()).encode()).hexdigest()


async def create(connection: Connection, model: ReadModel) -> None:
    """Make the tables in the connection's schema, each behind its wall."""
    await connection.execute(model.ddl)
    for table in model.tables:
        wall = sql.SQL(_WALL).format(
            table=sql.Identifier(table),
            app=sql.Identifier(APP_ROLE),
            projector=sql.Identifier(PROJECTOR_ROLE),
        )
        await connection.execute(wall)


async def drop(connection: Connection, schema: LiteralString, tables: Sequence[str]) -> None:
    for table in tables:
        await connection.execute(
            sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(schema, table))
        )


async def analyze(connection: Connection, model: ReadModel) -> None:
    """Count the rows of the connection's tables for the planner, before anybody asks them."""
    for table in model.tables:
        await connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))


async def swap(connection: Connection, model: ReadModel) -> None:
    """Put the tables of `NEXT` in the place of the live ones. Readers wait for the commit."""
    await drop(connection, LIVE, model.tables)
    for table in model.tables:
        await connection.execute(
            sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(
                sql.Identifier(NEXT, table), sql.Identifier(LIVE)
            )
        )


async def try_run_lock(connection: Connection, name: str) -> bool:
    """Become the only one that moves this read model, for as long as the connection lives."""
    return await _try_lock(connection, _RUNNING, name)


async def try_rebuild_lock(connection: Connection, name: str) -> bool:
    """Become the only one that rebuilds this read model."""
    return await _try_lock(connection, _REBUILDING, name)


async def _try_lock(connection: Connection, kind: int, name: str) -> bool:
    cursor = await connection.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", (kind, name))
    return await cursor.fetchone() == (True,)
