"""A SQLite file that survives a restart, one transaction at a time."""

import contextlib
import sqlite3
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Final

BUSY_S: Final = 5.0


class Database:
    """One connection behind a lock; several processes may share the file.

    Whatever must happen together (the jti, the key, the charge) happens in one `transaction`.
    """

    def __init__(self, path: Path | str) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA foreign_keys = ON")

    def define(self, script: str) -> None:
        """Create what is missing; `script` is `CREATE … IF NOT EXISTS` statements."""
        with self._lock:
            self._connection.executescript(script)

    @contextlib.contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """Commits when the block ends, rolls back when it raises.

        The write lock is taken at the beginning (`BEGIN IMMEDIATE`), so what is read here is
        still true when it is acted upon, in other processes too.
        """
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def close(self) -> None:
        with self._lock:
            self._connection.close()
