"""Balances and charges in SQLite; a charge and its answer are one transaction."""

import sqlite3
from typing import Any
from uuid import uuid4

import msgspec

from clients.product import AuthorizeRequest, Database
from examples.wallet.money import Money, MoneyInvalid, read_money


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """Money taken. `reference_id` is what the platform and the device are told."""

    reference_id: str
    tenant_id: str
    user_id: str
    transaction_id: str
    idempotency_key: str
    minor: int
    currency: str


class Ledger:
    """Who has how much. A person whom the wallet meets for the first time has `opening`."""

    def __init__(self, database: Database, opening: Money) -> None:
        self._database = database
        self._opening = opening
        database.define(
            "CREATE TABLE IF NOT EXISTS balances ("
            " tenant_id TEXT NOT NULL, user_id TEXT NOT NULL, currency TEXT NOT NULL,"
            " minor INTEGER NOT NULL,"
            " PRIMARY KEY (tenant_id, user_id, currency)) WITHOUT ROWID;"
            "CREATE TABLE IF NOT EXISTS charges ("
            " number INTEGER PRIMARY KEY, reference_id TEXT NOT NULL UNIQUE,"
            " tenant_id TEXT NOT NULL, user_id TEXT NOT NULL, transaction_id TEXT NOT NULL,"
            " idempotency_key TEXT NOT NULL, minor INTEGER NOT NULL, currency TEXT NOT NULL);"
        )

    def decide(self, connection: sqlite3.Connection, request: AuthorizeRequest) -> dict[str, Any]:
        """Charge and allow, or deny with a reason; called once per key by `Answers.once`."""
        context = request.context
        try:
            price = read_money(context.get("amount"), context.get("currency"))
        except MoneyInvalid:
            return _deny("amount_invalid", "Amount not understood")
        if price.minor == 0:
            return _deny("amount_invalid", "Nothing to pay")
        account = (request.tenant_id, request.user_id, price.currency)
        if self._balance(connection, account) < price.minor:
            return _deny("insufficient_balance", "Insufficient balance")
        return self._charge(connection, request, price)

    def record(self, connection: sqlite3.Connection, request: AuthorizeRequest) -> dict[str, Any]:
        """Charge what a person got while the wallet was silent, into the red if need be.

        Called once per key by `Answers.advise`. Raises MoneyInvalid.
        """
        context = request.context
        price = read_money(context.get("amount"), context.get("currency"))
        return self._charge(connection, request, price)

    def _charge(
        self, connection: sqlite3.Connection, request: AuthorizeRequest, price: Money
    ) -> dict[str, Any]:
        account = (request.tenant_id, request.user_id, price.currency)
        self._balance(connection, account)
        self._take(connection, account, price.minor)
        reference = f"wal_{uuid4().hex}"
        connection.execute(
            "INSERT INTO charges (reference_id, tenant_id, user_id, transaction_id,"
            " idempotency_key, minor, currency) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                reference,
                request.tenant_id,
                request.user_id,
                request.transaction_id,
                request.idempotency_key,
                price.minor,
                price.currency,
            ),
        )
        return {
            "decision": "allow",
            "display_message": f"Approved \u00b7 {price}",
            "reference_id": reference,
            "ttl_seconds": 30,
        }

    def undo(self, connection: sqlite3.Connection, request: AuthorizeRequest) -> bool:
        """Give the money of a charge back; called at most once per key by `Answers.void`."""
        charged = connection.execute(
            "DELETE FROM charges WHERE tenant_id = ? AND idempotency_key = ?"
            " RETURNING user_id, currency, minor",
            (request.tenant_id, request.idempotency_key),
        ).fetchone()
        if charged is None:
            return False
        user_id, currency, minor = charged
        self._take(connection, (request.tenant_id, user_id, currency), -minor)
        return True

    def _balance(self, connection: sqlite3.Connection, account: tuple[str, str, str]) -> int:
        row = connection.execute(
            "SELECT minor FROM balances WHERE tenant_id = ? AND user_id = ? AND currency = ?",
            account,
        ).fetchone()
        if row is not None:
            return int(row[0])
        opening = self._opening.minor if account[2] == self._opening.currency else 0
        connection.execute("INSERT INTO balances VALUES (?, ?, ?, ?)", (*account, opening))
        return opening

    def _take(
        self, connection: sqlite3.Connection, account: tuple[str, str, str], minor: int
    ) -> None:
        connection.execute(
            "UPDATE balances SET minor = minor - ?"
            " WHERE tenant_id = ? AND user_id = ? AND currency = ?",
            (minor, *account),
        )

    def set_balance(self, tenant_id: str, user_id: str, money: Money) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO balances VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET minor = ?",
                (tenant_id, user_id, money.currency, money.minor, money.minor),
            )

    def balance(self, tenant_id: str, user_id: str, currency: str) -> Money:
        with self._database.transaction() as connection:
            return Money(self._balance(connection, (tenant_id, user_id, currency)), currency)

    def charges(self) -> list[Charge]:
        """All charges, oldest first."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT reference_id, tenant_id, user_id, transaction_id, idempotency_key,"
                " minor, currency FROM charges ORDER BY number"
            ).fetchall()
        names = Charge.__struct_fields__
        return [Charge(**dict(zip(names, row, strict=True))) for row in rows]


def _deny(reason: str, message: str) -> dict[str, Any]:
    return {"decision": "deny", "reason_code": reason, "display_message": message}
