"""The same key gets the same answer, and what the answer stands for happens once (004 §10.4)."""

import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from clients.product.assertions import AuthorizeRequest
from clients.product.database import Database

KEEP_S: Final = 7 * 24 * 3600.0
"""Far beyond the 24 h for which the platform may still ask again or void."""


class KeyReused(Exception):
    """The key came before with another request. Answer 422."""


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """An answer as the bytes to send. When `replayed`, send `Idempotent-Replayed: true` too."""

    body: bytes
    replayed: bool


Decide = Callable[[sqlite3.Connection, AuthorizeRequest], Mapping[str, Any]]


class Answers:
    """Answers by tenant and idempotency key, in the same database as the business itself."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        database.define(
            "CREATE TABLE IF NOT EXISTS answers ("
            " tenant_id TEXT NOT NULL, idempotency_key TEXT NOT NULL,"
            " fingerprint TEXT NOT NULL, body BLOB NOT NULL, answered_at REAL NOT NULL,"
            " PRIMARY KEY (tenant_id, idempotency_key)) WITHOUT ROWID;"
            "CREATE INDEX IF NOT EXISTS answers_answered_at ON answers (answered_at);"
        )

    def once(self, request: AuthorizeRequest, decide: Decide) -> Remembered:
        """Decide, unless this key was decided before. Raises KeyReused.

        `decide` gets the connection of the transaction in which its answer is remembered, so a
        charge and the memory of it are durable together or not at all. When it raises, nothing
        happened and the key is free again.
        """
        key = (request.tenant_id, request.idempotency_key)
        now = self._clock()
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM answers WHERE answered_at <= ?", (now - KEEP_S,))
            known = connection.execute(
                "SELECT fingerprint, body FROM answers WHERE tenant_id = ? AND idempotency_key = ?",
                key,
            ).fetchone()
            if known is not None:
                fingerprint, body = known
                if fingerprint != request.fingerprint:
                    raise KeyReused
                return Remembered(body=body, replayed=True)
            body = msgspec.json.encode(decide(connection, request))
            connection.execute(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?)",
                (*key, request.fingerprint, body, now),
            )
            return Remembered(body=body, replayed=False)
