"""Reads the rows of a read model's table in the order of its primary key, a portion at a time."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from psycopg import sql

from domain.ids import TenantId
from domain.projection import TableDigest
from infrastructure.database import Connection
from projections.row_digest import CanonicalRow, RowsDigest, canonical

_PORTION: Final = 200
"""So many rows at a time: nobody in the same process waits long for us to have read them."""

_KEY: Final = """
    SELECT a.attname, a.attcollation <> 0
    FROM pg_index i
    CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
    WHERE i.indisprimary AND i.indrelid = to_regclass(%s)
    ORDER BY k.place
"""


class Table:
    """A table of the live set, or of the connection's own: `schema` says which."""

    def __init__(self, schema: str, name: str, key: Sequence[tuple[str, bool]]) -> None:
        self.name = name
        self.key = tuple(column for column, _ in key)
        # Text in the order of its code points: that of the database would be its locale's.
        order = sql.SQL(", ").join(
            sql.SQL("t.{}{}").format(
                sql.Identifier(column), sql.SQL(' COLLATE "C"' if is_text else "")
            )
            for column, is_text in key
        )
        self._cursor = sql.Identifier(f"rows of {name}")
        self._query = sql.SQL(
            "DECLARE {cursor} NO SCROLL CURSOR FOR SELECT to_json(t)::text FROM {table} t "
            "WHERE %(tenant)s::uuid IS NULL OR t.tenant_id = %(tenant)s ORDER BY {order}"
        ).format(cursor=self._cursor, table=sql.Identifier(schema, name), order=order)

    async def rows(
        self, connection: Connection, tenant_id: TenantId | None
    ) -> AsyncGenerator[CanonicalRow]:
        """A tenant's rows, or everybody's. The connection is in a transaction that lasts.

        The cursor is the server's and goes with the transaction at the latest: psycopg's own kind
        must be closed over the connection, which may be lost or busy ending.
        """
        await connection.execute(self._query, {"tenant": tenant_id})
        fetch = sql.SQL("FETCH {} FROM {}").format(sql.Literal(_PORTION), self._cursor)
        while rows := await (await connection.execute(fetch)).fetchall():
            for (row,) in rows:
                yield canonical(row, self.key)
        await connection.execute(sql.SQL("CLOSE {}").format(self._cursor))

    async def digest(self, connection: Connection, tenant_id: TenantId) -> TableDigest:
        """Of the tenant's rows. The connection is in a transaction that lasts."""
        digest = RowsDigest(self.name)
        async with aclosing(self.rows(connection, tenant_id)) as rows:
            async for row in rows:
                digest.add(row)
        return digest.result()


async def table(connection: Connection, schema: str, name: str) -> Table:
    """Raises LookupError for a table without a primary key: its rows have no order."""
    qualified = sql.Identifier(schema, name).as_string(connection)
    key = await (await connection.execute(_KEY, (qualified,))).fetchall()
    if not key:
        raise LookupError(f"{qualified} has no primary key")
    return Table(schema, name, [(column, is_text) for column, is_text in key])
