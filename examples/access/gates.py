"""Who may open which gate, and the log of who tried."""

import sqlite3
import time
from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

import msgspec

from clients.product import AuthorizeRequest, Database

EVERY_GATE: Final = "*"


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at a gate. `at` is in seconds since 1970."""

    reference_id: str
    tenant_id: str
    user_id: str
    device_id: str
    transaction_id: str
    gate: str
    opened: bool
    at: float


class Gates:
    """Grants and openings in SQLite. A gate is named by the context, else by its device."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        database.define(
            "CREATE TABLE IF NOT EXISTS grants ("
            " tenant_id TEXT NOT NULL, user_id TEXT NOT NULL, gate TEXT NOT NULL,"
            " PRIMARY KEY (tenant_id, user_id, gate)) WITHOUT ROWID;"
            "CREATE TABLE IF NOT EXISTS openings ("
            " number INTEGER PRIMARY KEY, reference_id TEXT NOT NULL UNIQUE,"
            " tenant_id TEXT NOT NULL, user_id TEXT NOT NULL, device_id TEXT NOT NULL,"
            " transaction_id TEXT NOT NULL, gate TEXT NOT NULL, opened INTEGER NOT NULL,"
            " at REAL NOT NULL);"
        )

    def decide(self, connection: sqlite3.Connection, request: AuthorizeRequest) -> dict[str, Any]:
        """Open or refuse, and log it; called once per key by `Answers.once`."""
        gate = request.context.get("gate", request.device_id)
        if not isinstance(gate, str) or gate == EVERY_GATE or not 1 <= len(gate) <= 128:
            return _deny("gate_invalid", "Gate not understood")
        granted = connection.execute(
            "SELECT 1 FROM grants WHERE tenant_id = ? AND user_id = ? AND gate IN (?, ?)",
            (request.tenant_id, request.user_id, gate, EVERY_GATE),
        ).fetchone()
        return self._log(connection, request, gate, granted is not None)

    def record(self, connection: sqlite3.Connection, request: AuthorizeRequest) -> dict[str, Any]:
        """Log a gate that opened while nobody here was asked, granted or not; called once per key
        by `Answers.advise`."""
        return self._log(connection, request, str(request.context.get("gate", "")), opened=True)

    def _log(
        self, connection: sqlite3.Connection, request: AuthorizeRequest, gate: str, opened: bool
    ) -> dict[str, Any]:
        reference = f"acc_{uuid4().hex}"
        connection.execute(
            "INSERT INTO openings (reference_id, tenant_id, user_id, device_id, transaction_id,"
            " gate, opened, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                reference,
                request.tenant_id,
                request.user_id,
                request.device_id,
                request.transaction_id,
                gate,
                opened,
                self._clock(),
            ),
        )
        if not opened:
            return {**_deny("no_access", "No access here"), "reference_id": reference}
        return {
            "decision": "allow",
            "display_message": "Welcome",
            "reference_id": reference,
            "ttl_seconds": 5,
        }

    def undo(self, connection: sqlite3.Connection, request: AuthorizeRequest) -> bool:
        """Note that the gate did not open after all; called once per key by `Answers.void`."""
        noted = connection.execute(
            "UPDATE openings SET opened = 0 WHERE tenant_id = ? AND transaction_id = ?",
            (request.tenant_id, request.transaction_id),
        )
        return noted.rowcount > 0

    def grant(self, tenant_id: str, user_id: str, gate: str) -> None:
        """Let a person through a gate, or through every gate (`*`)."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO grants VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (tenant_id, user_id, gate),
            )

    def withdraw(self, tenant_id: str, user_id: str, gate: str) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM grants WHERE tenant_id = ? AND user_id = ? AND gate = ?",
                (tenant_id, user_id, gate),
            )

    def openings(self) -> list[Opening]:
        """All attempts, oldest first."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT reference_id, tenant_id, user_id, device_id, transaction_id, gate,"
                " opened, at FROM openings ORDER BY number"
            ).fetchall()
        names = Opening.__struct_fields__
        return [
            msgspec.convert(dict(zip(names, row, strict=True)), Opening, strict=False)
            for row in rows
        ]


def _deny(reason: str, message: str) -> dict[str, Any]:
    return {"decision": "deny", "reason_code": reason, "display_message": message}
