"""Writes a log as files that any static file server can serve, the checkpoint last of all."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from application.ports.transparency import SignedCheckpoint, TransparencyLogs
from domain.catalogue import EVENTS
from domain.ids import TenantId
from domain.transparency.note import read_note
from domain.transparency.tiles import TILE_WIDTH, Tile, bundles_of, tile_path, tiles_of
from infrastructure.log_export.directory import (
    CHECKPOINT,
    CHECKPOINTS,
    EVENT_SCHEMAS,
    VERIFIER_KEY,
    ExportDirectory,
)

SIGNED_WITHIN_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.2

_JSON: Final = msgspec.json.Encoder()


class NothingSigned(Exception):
    """No checkpoint covers what is to be exported, or there is no such log."""


class AnotherLog(Exception):
    """The directory holds the export of another log."""


class LogDamaged(Exception):
    """A tile or bundle below the signed size is not in the database."""


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What the directory holds now. `written` counts files that were not there before."""

    origin: str
    size: int
    final: bool
    written: int


WriteRows = Callable[[ExportDirectory], Awaitable[int]]
"""Writes what read models show, and says up to which position of the log (`shown_rows`)."""


async def export(
    logs: TransparencyLogs,
    log_id: TenantId,
    root: Path,
    *,
    final: bool = False,
    rows: WriteRows | None = None,
    patience_s: float = SIGNED_WITHIN_S,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Exported:
    """Bring the directory to the log's last checkpoint, or with `final` to its last cosigned one.

    A full tile never changes, so one that is there is not fetched again: exporting into the
    same directory every night costs what was new that day. The checkpoint that was there before
    stays under `checkpoints/`, and `verify` holds the new one to it. Rows come first, and the
    checkpoint waits for what they show to be signed. Raises NothingSigned, AnotherLog,
    LogDamaged.
    """
    directory = ExportDirectory(root)
    identity = logs.identity(log_id)
    before = directory.read(CHECKPOINT)
    if before is not None and _origin(before) != identity.origin:
        raise AnotherLog(f"{root} holds the log {_origin(before)}")
    shown = 0 if rows is None else await rows(directory)
    signed = await _signed(logs, log_id, shown, patience_s, final=final)
    if before is not None and signed.size < int(_size(before)):
        raise NothingSigned(f"{root} holds a later checkpoint than the last one that is final")
    wanted = [*bundles_of(signed.size), *tiles_of(signed.size)]
    written = 0
    for done, tile in enumerate(wanted):
        progress(done, len(wanted))
        if tile.width < TILE_WIDTH or not directory.has(tile):
            directory.write(*await _fetched(logs, log_id, tile))
            written += 1
    directory.write(EVENT_SCHEMAS, _JSON.encode(event_schemas()))
    directory.write(VERIFIER_KEY, f"{identity.vkey}\n".encode())
    if before is not None and before != signed.note.encode():
        directory.write(f"{CHECKPOINTS}/{_size(before)}", before)
    directory.write(CHECKPOINT, signed.note.encode())
    progress(len(wanted), len(wanted))
    return Exported(origin=identity.origin, size=signed.size, final=signed.final, written=written)


async def _signed(
    logs: TransparencyLogs, log_id: TenantId, position: int, patience_s: float, *, final: bool
) -> SignedCheckpoint:
    """A checkpoint that covers the event at this position. Raises NothingSigned."""
    try:
        async with asyncio.timeout(patience_s):
            while True:
                signed = await logs.checkpoint(log_id, final=final)
                index = await logs.leaf_index(log_id, str(position)) if position else -1
                if signed is not None and index is not None and index < signed.size:
                    return signed
                await asyncio.sleep(_LOOK_EVERY_S)
    except TimeoutError as error:
        raise NothingSigned(
            f"no checkpoint that covers position {position} came within {patience_s:g} s:"
            " is a worker running?"
        ) from error


async def _fetched(logs: TransparencyLogs, log_id: TenantId, tile: Tile) -> tuple[str, bytes]:
    found = await logs.tile(log_id, tile)
    if found is None:
        raise LogDamaged(f"{tile_path(tile)} is not in the database")
    return tile_path(tile), found


def event_schemas() -> dict[str, Any]:
    """Every kind of event this version knows: its version, and its data as JSON Schema."""
    schemas, definitions = msgspec.json.schema_components(
        [EVENTS[name] for name in sorted(EVENTS)], ref_template="#/definitions/{name}"
    )
    return {
        "events": {
            name: {"version": EVENTS[name].VERSION, "data": schema}
            for name, schema in zip(sorted(EVENTS), schemas, strict=True)
        },
        "definitions": definitions,
    }


def _origin(note: bytes) -> str:
    return read_note(note.decode()).text.split("\n", 1)[0]


def _size(note: bytes) -> str:
    return read_note(note.decode()).text.split("\n", 2)[1]
