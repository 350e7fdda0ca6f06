"""Migrations are applied once, in order, by whoever comes first, and may never change."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from infrastructure.migrate import MIGRATIONS, MigrationRefused, migrate, migrate_over

NAMES = [file.name for file in sorted(MIGRATIONS.glob("*.sql"))]


@pytest.fixture
def bare_database(postgres_dsn: str, template_database: str) -> str:
    """A database that nobody has migrated, on a server that has our roles already."""
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        row = connection.execute(
            "SELECT 'bare_' || count(*) FROM pg_database WHERE datname LIKE 'bare%'"
        ).fetchone()
        assert row is not None
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(row[0])))
    return make_conninfo(postgres_dsn, dbname=row[0])


def test_everything_is_applied_once_and_by_several_at_a_time(bare_database: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        applied = list(threads.map(migrate, [bare_database] * 4))
    assert sorted(applied) == [[], [], [], NAMES]
    with psycopg.connect(bare_database) as connection:
        kept = connection.execute("SELECT name FROM schema_migrations ORDER BY name").fetchall()
        owners = connection.execute(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public' "
            "AND tablename <> 'schema_migrations'"
        ).fetchall()
    assert [name for (name,) in kept] == NAMES
    assert owners == [("link_owner",)]


def test_a_login_that_owns_the_database_and_was_granted_the_roles_migrates(
    bare_database: str,
) -> None:
    with psycopg.connect(bare_database, autocommit=True) as connection:
        connection.execute("CREATE ROLE ordinary LOGIN")
        connection.execute("GRANT link_owner, link_app, link_projector TO ordinary")
        connection.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO ordinary").format(
                sql.Identifier(connection.info.dbname)
            )
        )
        connection.execute("SET SESSION AUTHORIZATION ordinary")
        assert migrate_over(connection) == NAMES
        connection.execute("SET ROLE link_app")
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)


def write(directory: Path, name: str, text: str) -> None:
    (directory / name).write_text(text, encoding="utf-8")


def test_an_applied_file_that_changed_stops_the_start(bare_database: str, tmp_path: Path) -> None:
    write(tmp_path, "0001_roles.sql", "SELECT 1;")
    assert migrate(bare_database, tmp_path) == ["0001_roles.sql"]
    assert migrate(bare_database, tmp_path) == []
    write(tmp_path, "0001_roles.sql", "SELECT 2;")
    with pytest.raises(MigrationRefused, match=r"0001_roles\.sql has changed"):
        migrate(bare_database, tmp_path)


def test_line_ends_of_another_checkout_are_no_change(bare_database: str, tmp_path: Path) -> None:
    (tmp_path / "0001_roles.sql").write_bytes(b"SELECT 1;\nSELECT 2;\n")
    migrate(bare_database, tmp_path)
    (tmp_path / "0001_roles.sql").write_bytes(b"SELECT 1;\r\nSELECT 2;\r\n")
    assert migrate(bare_database, tmp_path) == []


def test_a_file_that_fails_leaves_nothing_and_those_before_it_stand(
    bare_database: str, tmp_path: Path
) -> None:
    write(tmp_path, "0001_roles.sql", "GRANT CREATE ON SCHEMA public TO link_owner;")
    write(tmp_path, "0002_half.sql", "CREATE TABLE half (); SELECT 100 % 0;")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(bare_database, tmp_path)
    write(tmp_path, "0002_half.sql", "CREATE TABLE half (); SELECT 100 % 7;")
    with psycopg.connect(bare_database, autocommit=True) as connection:
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)
    assert migrate(bare_database, tmp_path) == ["0002_half.sql"]


def test_two_files_of_one_number_are_refused(bare_database: str, tmp_path: Path) -> None:
    write(tmp_path, "0001_roles.sql", "SELECT 1;")
    write(tmp_path, "0001_rules.sql", "SELECT 1;")
    with pytest.raises(MigrationRefused, match="stands twice"):
        migrate(bare_database, tmp_path)
