"""The second wall: row-level security, grants and the trigger hold without our code's help."""

from collections.abc import Generator
from typing import LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from domain.ids import TenantId
from infrastructure.database import APP_ROLE, PROJECTOR_ROLE, SET_TENANT, acting_as
from infrastructure.event_log.log import PostgresEventLog
from tests.infrastructure.event_log.notes import A, B, notes, origin

REWRITES = [
    "UPDATE events SET name = 'other'",
    "DELETE FROM events",
    "TRUNCATE events",
    "UPDATE event_blocks SET hash = '\\x00'",
    "DELETE FROM event_blocks",
    "TRUNCATE event_blocks",
]


@pytest.fixture
async def two_tenants(log: PostgresEventLog) -> dict[TenantId, UUID]:
    """One stream of one event each."""
    streams = {A: uuid4(), B: uuid4()}
    for tenant, stream in streams.items():
        await log.append(origin(), [notes(stream, 0, "x", tenant_id=tenant)])
    return streams


@pytest.fixture
def app(database: str) -> Generator[Connection[TupleRow]]:
    with psycopg.connect(acting_as(database, APP_ROLE), autocommit=True) as connection:
        yield connection


def as_tenant(
    connection: Connection[TupleRow], tenant: TenantId, query: LiteralString, *wanted: UUID
) -> list[TupleRow]:
    with connection.transaction():
        connection.execute(SET_TENANT, (str(tenant),))
        return connection.execute(query, wanted).fetchall()


@pytest.mark.usefixtures("two_tenants")
def test_without_a_tenant_nothing_is_seen(app: Connection[TupleRow]) -> None:
    assert app.execute("SELECT * FROM events").fetchall() == []
    app.execute("SELECT set_config('link.tenant_id', '', false)")
    assert app.execute("SELECT * FROM events").fetchall() == []


def test_a_tenant_sees_its_own_even_when_it_asks_for_anothers(
    app: Connection[TupleRow], two_tenants: dict[TenantId, UUID]
) -> None:
    seen = as_tenant(app, A, "SELECT tenant_id, stream_id FROM events")
    assert seen == [(A, two_tenants[A])]
    assert as_tenant(app, A, "SELECT * FROM events WHERE tenant_id = %s", B) == []
    assert as_tenant(app, A, "SELECT * FROM events WHERE stream_id = %s", two_tenants[B]) == []
    readable = as_tenant(app, B, "SELECT stream_id, payload FROM readable_events")
    assert readable == [(two_tenants[B], '{"v":1,"data":{"text":"x"}}')]


def test_loading_takes_a_stream_only_with_its_own_tenant(
    app: Connection[TupleRow], two_tenants: dict[TenantId, UUID]
) -> None:
    found = app.execute(
        "SELECT ordinal FROM load_streams(%s::uuid[], %s::uuid[])",
        ([A, A, B, B], [two_tenants[A], two_tenants[B], two_tenants[A], two_tenants[B]]),
    ).fetchall()
    assert sorted(found) == [(1,), (4,)]


@pytest.mark.usefixtures("two_tenants")
def test_the_projector_sees_all_tenants_and_the_blocks(database: str) -> None:
    with psycopg.connect(acting_as(database, PROJECTOR_ROLE)) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (2,)
        assert connection.execute("SELECT count(*) FROM event_blocks").fetchone() == (2,)


@pytest.mark.parametrize("role", [APP_ROLE, PROJECTOR_ROLE])
@pytest.mark.usefixtures("two_tenants")
def test_no_role_of_ours_may_write_but_through_the_function(database: str, role: str) -> None:
    with psycopg.connect(acting_as(database, role), autocommit=True) as connection:
        for statement in [*REWRITES, "INSERT INTO events (position) VALUES (9)"]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
                connection.execute(statement.encode())


@pytest.mark.parametrize("role", ["link_owner", None])
@pytest.mark.usefixtures("two_tenants")
def test_neither_owner_nor_superuser_may_rewrite(database: str, role: str | None) -> None:
    dsn = acting_as(database, role) if role else database
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in REWRITES:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                connection.execute(statement.encode())
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (2,)


def test_the_trigger_holds_where_triggers_are_switched_off_for_replicas(
    database: str, two_tenants: dict[TenantId, UUID]
) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            connection.execute("DELETE FROM events WHERE stream_id = %s", (two_tenants[A],))


def test_every_table_with_a_tenant_has_forced_row_security(database: str) -> None:
    """Also the tables of others: a new one without the wall fails here."""
    with psycopg.connect(database) as connection:
        bare = connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
            "WHERE c.relkind IN ('r', 'p') AND a.attname = 'tenant_id' "
            "AND c.relnamespace = 'public'::regnamespace "
            "AND NOT (c.relrowsecurity AND c.relforcerowsecurity)"
        ).fetchall()
        walled = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relname = 'events' AND relforcerowsecurity"
        ).fetchone()
    assert bare == []
    assert walled == (1,)


def test_functions_that_act_as_the_owner_fix_their_search_path(database: str) -> None:
    with psycopg.connect(database) as connection:
        found = connection.execute(
            "SELECT proname, array_to_string(proconfig, ' ') FROM pg_proc "
            "WHERE prosecdef AND pronamespace = 'public'::regnamespace ORDER BY proname"
        ).fetchall()
    assert {name for name, _ in found} >= {"append_events", "load_streams"}
    for name, settings in found:
        assert "search_path=pg_catalog" in settings, name
