"""The digest of a tenant's rows of one table: the one place that says what it is.

A row is the JSON object of all its columns as PostgreSQL writes it (`to_json`, time zone UTC), in
its canonical form: UTF-8, no white space, the names of every object in ascending order of code
points, numbers and strings in msgspec's form. The digest is the SHA-256 over the rows' canonical
forms, each followed by a line feed, in ascending order of the primary key: numbers by value,
everything else by the code points of its text. So `sha256sum` of a file with one row a line says
the same.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from domain.projection import TableDigest

_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])


class CanonicalRow(msgspec.Struct, frozen=True):
    """One row: its primary key in the order of the key's columns, its columns, its bytes."""

    key: tuple[Any, ...]
    columns: Mapping[str, Any]
    line: bytes

    @property
    def position(self) -> int | None:
        """The event that made the row what it is, for tables that say so."""
        found: int | None = self.columns.get("last_position", self.columns.get("position"))
        return found


def canonical(row: str | bytes, key: Iterable[str]) -> CanonicalRow:
    """A row as PostgreSQL writes it; `key` names the columns of the primary key."""
    columns = _OBJECT.decode(row)
    line = msgspec.json.encode(columns, order="sorted")
    return CanonicalRow(tuple(columns[name] for name in key), columns, line)


def key_text(row: CanonicalRow, key: Iterable[str]) -> str:
    """The primary key for people and programs: a JSON object."""
    named = dict(zip(key, row.key, strict=True))
    return msgspec.json.encode(named).decode()


class RowsDigest:
    """Takes in the rows of one table in the order of their keys."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._rows = 0
        self._hash = hashlib.sha256()

    def add(self, row: CanonicalRow) -> None:
        self._rows += 1
        self._hash.update(row.line)
        self._hash.update(b"\n")

    def result(self) -> TableDigest:
        return TableDigest(table=self._table, rows=self._rows, sha256=self._hash.hexdigest())
