"""A personal value in every form in which it might have been written down, and where to look."""

import base64
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql


def forms(value: str) -> dict[str, bytes]:
    """The value by the name of each encoding; forms of its bare digits too, where it has a plus.

    A digest counts only where nothing is needed to compute it but a guess at the value.
    """
    found: dict[str, bytes] = {}
    for name, text in (("", value), ("bare ", value.lstrip("+"))):
        plain = text.encode()
        digest = hashlib.sha256(plain)
        encodings = {
            "utf-8": plain,
            "utf-16": text.encode("utf-16-le"),
            "utf-16be": text.encode("utf-16-be"),
            "hex": plain.hex().encode(),
            "HEX": plain.hex().upper().encode(),
            "url": quote(text, safe="").encode(),
            "json": json.dumps(text)[1:-1].encode(),
            "reversed": text[::-1].encode(),
            "sha256": digest.digest(),
            "sha256 hex": digest.hexdigest().encode(),
            "sha256 base64": base64.b64encode(digest.digest()).rstrip(b"="),
            "sha256 base64url": base64.urlsafe_b64encode(digest.digest()).rstrip(b"="),
        }
        # Inside longer base64 the value stands at one of three alignments; the characters at
        # its edges belong to its neighbours.
        for shift in range(3):
            padded = base64.b64encode(b"\0" * shift + plain)
            encodings[f"base64 {shift}"] = padded[(shift * 8 + 5) // 6 : -4]
        found |= {name + encoding: content for encoding, content in encodings.items()}
    return found


class Canaries:
    """Values to be searched for; `plant` everything that a test tells the house of a person."""

    def __init__(self, *values: str) -> None:
        self._forms = {
            f"{value} as {encoding}": content
            for value in values
            for encoding, content in forms(value).items()
        }

    def in_bytes(self, content: bytes) -> set[str]:
        return {name for name, form in self._forms.items() if form in content}

    def in_files(self, paths: Iterable[Path]) -> dict[str, set[str]]:
        """What is found in which file; a file that goes away meanwhile holds nothing."""
        hits: dict[str, set[str]] = {}
        for path in paths:
            try:
                found = self.in_bytes(path.read_bytes())
            except FileNotFoundError:
                continue
            if found:
                hits[str(path)] = found
        return hits

    def in_tables(self, dsn: str) -> dict[str, set[str]]:
        """What is found in which table of the database, as text and as PostgreSQL keeps it."""
        hits: dict[str, set[str]] = {}
        with psycopg.connect(dsn, autocommit=True) as connection:
            tables = connection.execute(
                "SELECT schemaname, tablename FROM pg_tables"
                " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            ).fetchall()
            for schema, table in tables:
                for form in ("text", "binary"):
                    found = self.in_bytes(_copied(connection, schema, table, form))
                    if found:
                        hits.setdefault(f"{schema}.{table}", set()).update(found)
        return hits


def _copied(
    connection: psycopg.Connection[tuple[object, ...]], schema: str, table: str, form: str
) -> bytes:
    query = sql.SQL("COPY {} TO STDOUT (FORMAT {})").format(
        sql.Identifier(schema, table), sql.SQL("text" if form == "text" else "binary")
    )
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        return b"".join(bytes(chunk) for chunk in copy)


def cluster_files(dsn: str) -> list[Path]:
    """Every file of the database's own folder in the cluster, after a full rewrite of it.

    The write-ahead log keeps what was written until it is recycled; it is not looked at.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM FULL")
        connection.execute("CHECKPOINT")
        row = connection.execute(
            "SELECT current_setting('data_directory') || '/base/' || oid"
            " FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    assert row is not None
    return [path for path in Path(row[0]).rglob("*") if path.is_file()]
