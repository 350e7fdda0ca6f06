"""Brings a database to the schema of this code: numbered SQL files, forward only, each once.

A file that has been applied may never change: its hash is kept beside its name, and a
difference stops the start. `0001_roles.sql` runs as the role that logs in; every later file
runs as link_owner, which therefore owns what the files make.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psycopg
from psycopg.rows import TupleRow

from infrastructure.database import OWNER_ROLE

MIGRATIONS: Final = Path(__file__).parent / "migrations"
ROLES_FILE: Final = "0001_roles.sql"

_LOCK_KEY: Final = 7310581
_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        name text PRIMARY KEY,
        sha256 text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )
"""


class MigrationRefused(Exception):
    """The files and the database disagree about what was applied."""


def migrate(dsn: str, directory: Path = MIGRATIONS) -> list[str]:
    """Apply what is missing and return its names; several processes may call this at once.

    Each file is one transaction. Raises MigrationRefused when an applied file has changed or
    two files bear the same number, psycopg.Error when a file fails (it then left nothing).
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        return migrate_over(connection, directory)


def migrate_over(
    connection: psycopg.Connection[TupleRow], directory: Path = MIGRATIONS
) -> list[str]:
    """The same over a connection in autocommit mode, which keeps the lock if this raises."""
    files = _files(directory)
    connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK_KEY,))
    present = connection.execute("SELECT to_regclass('schema_migrations') IS NOT NULL").fetchone()
    if present == (False,):
        connection.execute(_TABLE)
    applied: dict[str, str] = dict(
        connection.execute("SELECT name, sha256 FROM schema_migrations").fetchall()
    )
    _refuse_changed(files, applied)
    pending = [file for file in files if file.name not in applied]
    for file in pending:
        _apply(connection, file)
    connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK_KEY,))
    return [file.name for file in pending]


def _files(directory: Path) -> Sequence[Path]:
    files = sorted(directory.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    numbers = [file.name[:4] for file in files]
    if len(set(numbers)) != len(numbers):
        raise MigrationRefused(f"a number stands twice: {', '.join(file.name for file in files)}")
    return files


def _digest(file: Path) -> str:
    # Line ends do not count: a checkout may translate them.
    return hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def _refuse_changed(files: Sequence[Path], applied: dict[str, str]) -> None:
    for file in files:
        kept = applied.get(file.name)
        if kept is not None and kept != _digest(file):
            raise MigrationRefused(
                f"{file.name} has changed since it was applied (then sha256 {kept}); "
                "put it back and write a new migration"
            )


def _apply(connection: psycopg.Connection[TupleRow], file: Path) -> None:
    with connection.transaction():
        if file.name != ROLES_FILE:
            connection.execute(f"SET LOCAL ROLE {OWNER_ROLE}")
        # Bytes without parameters: one message with all statements, `%` taken as it stands.
        connection.execute(file.read_bytes())
        connection.execute("RESET ROLE")
        connection.execute(
            "INSERT INTO schema_migrations (name, sha256) VALUES (%s, %s)",
            (file.name, _digest(file)),
        )
