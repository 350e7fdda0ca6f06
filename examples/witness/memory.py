"""What a witness has seen: of each log the last checkpoint it cosigned, and nothing else."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from domain.transparency.merkle import EMPTY_ROOT

_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS seen (
        origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL
    ) WITHOUT ROWID
"""


class Memory:
    """A SQLite file, on disk before anything that follows from it is said."""

    def __init__(self, path: Path) -> None:
        # Requests take turns: one event loop, and nothing awaited while the file is locked.
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute("PRAGMA busy_timeout = 5000")
        self._database.execute(_TABLE)

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def locked(self) -> Generator[None]:
        """Nobody else reads or writes until this ends: looking and remembering are one step.

        Without it two requests could both continue what was there, and the later one would take
        back what the other had remembered (the race that tlog-witness describes).
        """
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def seen(self, origin: str) -> tuple[int, bytes]:
        """Size and root of the last checkpoint; those of the empty log when there was none."""
        row = self._database.execute(
            "SELECT size, root FROM seen WHERE origin = ?", (origin,)
        ).fetchone()
        return (0, EMPTY_ROOT) if row is None else (int(row[0]), bytes(row[1]))

    def remember(self, origin: str, size: int, root: bytes) -> None:
        self._database.execute(
            "INSERT INTO seen VALUES (?, ?, ?) ON CONFLICT (origin) DO UPDATE"
            " SET size = excluded.size, root = excluded.root",
            (origin, size, root),
        )
