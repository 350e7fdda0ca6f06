"""What the read models showed when the log was exported: a row to a line, for a replay to compare.

    read_models/<read model>.json            version, position and the digest of each table
    read_models/<read model>/<table>.ndjson  the rows, canonical (projections/row_digest.py)

A digest in the log says that something differs; these rows say which. They are what the platform
said when it was asked, so they are nothing to believe: the log decides.
"""

import hashlib
from collections.abc import AsyncGenerator, Sequence
from typing import Final, LiteralString

import msgspec

from domain.ids import TenantId
from domain.projection import ProjectionDigested, TableDigest
from infrastructure.database import Connection
from infrastructure.log_export.directory import ExportDirectory
from infrastructure.projections import tables
from infrastructure.projections.live_rows import live_rows
from infrastructure.projections.table_rows import Table
from projections.read_model import ReadModel
from projections.row_digest import CanonicalRow, RowsDigest, canonical

ROWS: Final = "read_models"

# Rows are a function of the tenant's own events, so they are the same from its last event on.
_LAST_EVENT: Final[LiteralString] = """
    SELECT coalesce(max(position), 0) FROM public.events
    WHERE tenant_id = %s AND position <= %s"""

_HEAD: Final = msgspec.json.Decoder(ProjectionDigested)


class RowsMalformed(Exception):
    """A file of rows is missing, or not what its digest says."""


async def write_rows(
    dsn: str, directory: ExportDirectory, models: Sequence[ReadModel], tenant_id: TenantId
) -> int:
    """Write what every read model shows of the tenant; the position that the latest stands at.

    A read model that stands still for the tenant is left out: its rows are of no one position.
    Raises OtherVersion, psycopg.Error.
    """
    latest = 0
    for model in models:
        async with (
            await tables.connect(dsn, tables.LIVE) as connection,
            live_rows(connection, model) as live,
        ):
            if tenant_id in live.missing_from:
                directory.remove(_head_path(model.name))
                continue
            cursor = await connection.execute(_LAST_EVENT, (tenant_id, live.position))
            row = await cursor.fetchone()
            position = 0 if row is None else int(row[0])
            written = [
                await _write_table(connection, directory, model.name, table, tenant_id)
                for table in live.tables
            ]
            head = ProjectionDigested(
                read_model=model.name,
                version=model.version,
                position=position,
                tables=tuple(written),
            )
            directory.write(_head_path(model.name), msgspec.json.encode(head))
        latest = max(latest, position)
    return latest


async def _write_table(
    connection: Connection,
    directory: ExportDirectory,
    model: str,
    table: Table,
    tenant_id: TenantId,
) -> TableDigest:
    digest = RowsDigest(table.name)
    with directory.writing(_rows_path(model, table.name)) as file:
        async for row in table.rows(connection, tenant_id):
            file.write(row.line + b"\n")
            digest.add(row)
    return digest.result()


def read_heads(directory: ExportDirectory) -> list[ProjectionDigested]:
    """What the export says was shown, a read model each. Raises RowsMalformed."""
    heads: list[ProjectionDigested] = []
    for path in directory.below(ROWS):
        if path.count("/") == 1 and path.endswith(".json"):
            try:
                heads.append(_HEAD.decode(directory.read(path) or b""))
            except msgspec.MsgspecError as error:
                raise RowsMalformed(f"{path}: {error}") from error
    return heads


def check_rows(directory: ExportDirectory, head: ProjectionDigested) -> None:
    """That the rows on file are those of the digests beside them. Raises RowsMalformed."""
    for stated in head.tables:
        path = directory.root / _rows_path(head.read_model, stated.table)
        if not path.is_file():
            raise RowsMalformed(f"{path} is missing")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != stated.sha256:
                raise RowsMalformed(f"{path} is not what {head.read_model}.json says")


async def rows_on_file(
    directory: ExportDirectory, model: str, table: Table
) -> AsyncGenerator[CanonicalRow]:
    """The rows of one table in the order of their keys. Raises RowsMalformed."""
    with (directory.root / _rows_path(model, table.name)).open("rb") as file:
        for number, text in enumerate(file, start=1):
            try:
                yield canonical(text, table.key)
            except (msgspec.MsgspecError, KeyError) as error:
                raise RowsMalformed(f"{table.name}, line {number}") from error


def _head_path(model: str) -> str:
    return f"{ROWS}/{model}.json"


def _rows_path(model: str, table: str) -> str:
    return f"{ROWS}/{model}/{table}.ndjson"
