"""One row per stream: fetch the rows that a batch touches, fold its events, write them back.

A reducer is a pure function of the row before and one event. However long the batch is, the
database sees one SELECT and one INSERT; that is what makes catching up fast (reference
eventstore.md §8). Rows travel as JSON both ways, so that the row struct alone says how a column
looks in Python, and PostgreSQL alone how it is kept.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final, Generic, LiteralString, TypeVar
from uuid import UUID

import msgspec
from psycopg import sql

from domain.events import Recorded
from projections.read_model import Connection

R = TypeVar("R", bound=msgspec.Struct)

Reducer = Callable[[R | None, Recorded], R]

_NUL: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


class StreamRows(Generic[R]):
    """Rows of one table, keyed by the id of the stream whose events they sum up."""

    def __init__(
        self, table: LiteralString, key: LiteralString, shape: type[R], reducer: Reducer[R]
    ) -> None:
        """`shape` has a field for every column of `table`, `key` among them."""
        self._reducer = reducer
        self._row = msgspec.json.Decoder(shape)
        self._select = (
            sql.SQL("SELECT {key}, to_json(t)::text FROM {table} t WHERE {key} = ANY(%s)")
            .format(table=sql.Identifier(table), key=sql.Identifier(key))
            .as_bytes(None)
        )
        self._upsert = upsert(table, shape, key)

    async def project(self, connection: Connection, events: Sequence[Recorded]) -> None:
        """Bring the rows of these events' streams up to date."""
        rows: dict[UUID, R | None] = {}
        began = {recorded.stream_id for recorded in events if recorded.version == 1}
        touched = {recorded.stream_id for recorded in events} - began
        if touched:
            cursor = await connection.execute(self._select, (list(touched),))
            rows.update({found: self._row.decode(row) for found, row in await cursor.fetchall()})
        for recorded in events:
            rows[recorded.stream_id] = self._reducer(rows.get(recorded.stream_id), recorded)
        if rows:
            await connection.execute(self._upsert, (json_rows(list(rows.values())),))


def upsert(table: LiteralString, shape: type[msgspec.Struct], key: LiteralString) -> bytes:
    """INSERT for rows given as one JSON array, replacing those whose key is already there."""
    columns = [sql.Identifier(field) for field in shape.__struct_fields__]
    return (
        sql.SQL(
            "INSERT INTO {table} ({columns}) "
            "SELECT {columns} FROM json_populate_recordset(NULL::{table}, %s::json) "
            "ON CONFLICT ({key}) DO UPDATE SET ({columns}) = ROW ({excluded})"
        )
        .format(
            table=sql.Identifier(table),
            key=sql.Identifier(key),
            columns=sql.SQL(", ").join(columns),
            excluded=sql.SQL(", ").join(
                sql.SQL("EXCLUDED.{}").format(column) for column in columns
            ),
        )
        .as_bytes(None)
    )


def json_rows(rows: Sequence[object]) -> str:
    """Rows as a JSON array that PostgreSQL can keep.

    It has no NUL in text. The log has (its payloads are bytes), and a stranger's text may not
    stop a read model: NUL is shown as U+FFFD, as terminals and browsers do.
    """
    encoded = msgspec.json.encode(rows)
    if b"\\u0000" in encoded:
        encoded = _NUL.sub(rb"\1\\ufffd", encoded)
    return encoded.decode()
