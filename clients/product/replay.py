"""Remembers which assertions were used, so that a captured one is worth nothing (004 §10.5)."""

from typing import Final

from clients.product.database import Database

CAPACITY: Final = 100_000
SKEW_S: Final = 60.0


class StoreFull(Exception):
    """No room to remember another assertion, so none may be accepted. Answer 503."""


class SeenAssertions:
    """Keyed by issuer and `jti`; kept until the assertion has expired and a minute more.

    Times are the wall clock's: they are kept over a restart, where a monotonic clock begins anew.
    Products with several replicas must share this store, or a replay works at the other replica.
    """

    def __init__(self, database: Database, capacity: int = CAPACITY) -> None:
        self._database = database
        self._capacity = capacity
        database.define(
            "CREATE TABLE IF NOT EXISTS seen_assertions ("
            " issuer TEXT NOT NULL, jti TEXT NOT NULL, forget_at REAL NOT NULL,"
            " PRIMARY KEY (issuer, jti)) WITHOUT ROWID;"
            "CREATE INDEX IF NOT EXISTS seen_assertions_forget_at"
            " ON seen_assertions (forget_at);"
        )

    def remember(self, issuer: str, jti: str, expires_at: float, now: float) -> bool:
        """Whether this is the first time: set if absent, in one statement. Raises StoreFull."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM seen_assertions WHERE forget_at <= ?", (now,))
            (held,) = connection.execute("SELECT count(*) FROM seen_assertions").fetchone()
            if held >= self._capacity:
                raise StoreFull
            inserted = connection.execute(
                "INSERT INTO seen_assertions (issuer, jti, forget_at) VALUES (?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (issuer, jti, expires_at + SKEW_S),
            )
            return inserted.rowcount == 1
