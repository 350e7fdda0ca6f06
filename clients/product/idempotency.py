"""The same key gets the same answer, and what the answer stands for happens once (004 §10.4)."""

import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

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


VoidStatus = Literal["voided", "already_voided", "not_found", "cannot_void"]
"""What the platform is told of a void."""

AdviceStatus = Literal["recorded", "already_recorded", "disputed", "voided"]
"""What the platform is told of an advice."""

_CANCELLED: Final = msgspec.json.encode(
    {"decision": "deny", "reason_code": "voided", "display_message": "Cancelled"}
)

Undo = Callable[[sqlite3.Connection, AuthorizeRequest], bool]
Record = Callable[[sqlite3.Connection, AuthorizeRequest], Mapping[str, Any]]
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
            "CREATE TABLE IF NOT EXISTS voids ("
            " tenant_id TEXT NOT NULL, idempotency_key TEXT NOT NULL, voided_at REAL NOT NULL,"
            " PRIMARY KEY (tenant_id, idempotency_key)) WITHOUT ROWID;"
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
            self._forget(connection, now)
            if _is_voided(connection, key):
                return Remembered(body=_CANCELLED, replayed=True)
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

    def void(self, request: AuthorizeRequest, undo: Undo) -> VoidStatus:
        """Undo what was allowed under this key, once, and allow nothing under it any more.

        A key that never came is remembered all the same: the question may still be on its way,
        and must be denied when it arrives. `undo` gets the connection of the transaction in which
        that is remembered, and says whether it could; when it raises, nothing happened.
        """
        key = (request.tenant_id, request.idempotency_key)
        now = self._clock()
        with self._database.transaction() as connection:
            self._forget(connection, now)
            if _is_voided(connection, key):
                return "already_voided"
            known = connection.execute(
                "SELECT body FROM answers WHERE tenant_id = ? AND idempotency_key = ?", key
            ).fetchone()
            allowed = known is not None and msgspec.json.decode(known[0])["decision"] == "allow"
            if allowed and not undo(connection, request):
                return "cannot_void"
            connection.execute("INSERT INTO voids VALUES (?, ?, ?)", (*key, now))
            return "not_found" if known is None else "voided"

    def advise(self, request: AuthorizeRequest, record: Record) -> AdviceStatus:
        """Book what was allowed in the product's place, once. Raises KeyReused.

        `record` gets the connection of the transaction in which that is remembered, and answers as
        `decide` would: a question that comes late under this key gets that answer. Nothing is
        booked that was voided before, or that the product decided itself; a no of its own is
        `disputed`.
        """
        key = (request.tenant_id, request.idempotency_key)
        now = self._clock()
        with self._database.transaction() as connection:
            self._forget(connection, now)
            if _is_voided(connection, key):
                return "voided"
            known = connection.execute(
                "SELECT fingerprint, body FROM answers WHERE tenant_id = ? AND idempotency_key = ?",
                key,
            ).fetchone()
            if known is not None:
                fingerprint, body = known
                if fingerprint != request.fingerprint:
                    raise KeyReused
                allowed = msgspec.json.decode(body)["decision"] == "allow"
                return "already_recorded" if allowed else "disputed"
            body = msgspec.json.encode(record(connection, request))
            connection.execute(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?)",
                (*key, request.fingerprint, body, now),
            )
            return "recorded"

    def _forget(self, connection: sqlite3.Connection, now: float) -> None:
        connection.execute("DELETE FROM answers WHERE answered_at <= ?", (now - KEEP_S,))
        connection.execute("DELETE FROM voids WHERE voided_at <= ?", (now - KEEP_S,))


def _is_voided(connection: sqlite3.Connection, key: tuple[str, str]) -> bool:
    found = connection.execute(
        "SELECT 1 FROM voids WHERE tenant_id = ? AND idempotency_key = ?", key
    ).fetchone()
    return found is not None
