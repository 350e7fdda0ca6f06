"""The proof of one event, made from an export: a text that convinces without the export."""

import bisect
import re
from typing import Final
from uuid import UUID

import msgspec

from domain.transparency.checkpoint import read_decimal
from domain.transparency.leaf import LeafMalformed, LoggedEvent
from domain.transparency.leaf import read as read_leaf
from domain.transparency.merkle import ProofInvalid, inclusion_spans, prove_inclusion
from domain.transparency.note import NoteMalformed, NoteUnverified, read_note
from domain.transparency.proof import TlogProof, check_proof
from domain.transparency.tiles import (
    TILE_WIDTH,
    BundleMalformed,
    Tile,
    TileHashes,
    read_bundle,
    tiles_for,
    width_at,
)
from infrastructure.log_export.directory import CHECKPOINT, ExportDirectory
from infrastructure.log_export.verification import Trust
from infrastructure.transparency.ed25519 import verify as ed25519

_STREAM_EVENT: Final = re.compile(r"(?:[a-z]{1,8}_)?([0-9a-f-]{32,36}):([0-9]{1,19})", re.ASCII)


class NoSuchEvent(Exception):
    """The log up to its checkpoint has no event by this name."""


class CannotProve(Exception):
    """The export is not whole, or not what was signed: `verify` says where."""


class Proved(msgspec.Struct, frozen=True, kw_only=True):
    """`proof` is a `tlog-proof@v1`; it is about `leaf` and nothing else."""

    index: int
    event: LoggedEvent
    leaf: bytes
    proof: str


def prove(directory: ExportDirectory, trust: Trust, event_id: str) -> Proved:
    """The proof of an event: `event_id` is its position, or `<stream>:<version>`.

    It has been checked with the given key before it is returned. Raises NotAnExport,
    NoSuchEvent, CannotProve.
    """
    directory.check_there()
    text = directory.read(CHECKPOINT)
    if text is None:
        raise CannotProve("there is no checkpoint")
    try:
        size = trust.opened(text).size
        index, leaf, event = _found(directory, size, event_id)
        hashes: dict[tuple[int, int], bytes] = {}
        for tile in tiles_for(inclusion_spans(index, size), size):
            filed = directory.tile(tile)
            if filed is not None:
                hashes[tile.level or 0, tile.index] = filed
        path = tuple(prove_inclusion(index, size, TileHashes(hashes)))
        proof = TlogProof(index=index, path=path, checkpoint=read_note(text.decode()))
        check_proof(
            proof,
            leaf,
            trust.log_key,
            ed25519,
            witnesses=trust.witnesses,
            witnesses_required=trust.witnesses_required,
        )
    except (NoteMalformed, NoteUnverified, ProofInvalid, LeafMalformed, BundleMalformed) as error:
        raise CannotProve(str(error)) from error
    except KeyError as error:
        raise CannotProve("a tile is missing") from error
    return Proved(index=index, event=event, leaf=leaf, proof=proof.encode())


def _found(directory: ExportDirectory, size: int, event_id: str) -> tuple[int, bytes, LoggedEvent]:
    position = read_decimal(event_id)
    if position is not None:
        return at_position(directory, size, position)
    named = _STREAM_EVENT.fullmatch(event_id)
    version = None if named is None else read_decimal(named[2])
    if named is None or version is None:
        raise NoSuchEvent(f"{event_id!r} is neither a position nor <stream>:<version>")
    stream_id = UUID(named[1])
    for bundle in range(-(-size // TILE_WIDTH)):
        for offset, leaf in enumerate(_leaves(directory, size, bundle)):
            event = read_leaf(leaf)
            if event.stream_id == stream_id and event.stream_version == version:
                return bundle * TILE_WIDTH + offset, leaf, event
    raise NoSuchEvent(f"the log has no event {event_id}")


def at_position(
    directory: ExportDirectory, size: int, position: int
) -> tuple[int, bytes, LoggedEvent]:
    """The index, the leaf and the event at a position. Positions ascend along the leaves, so few
    bundles have to be opened. Raises NoSuchEvent, CannotProve, LeafMalformed, BundleMalformed."""
    bundles = range(-(-size // TILE_WIDTH))
    after = bisect.bisect_right(
        bundles,
        position,
        key=lambda bundle: read_leaf(_leaves(directory, size, bundle)[0]).position,
    )
    if after:
        for offset, leaf in enumerate(_leaves(directory, size, after - 1)):
            event = read_leaf(leaf)
            if event.position == position:
                return (after - 1) * TILE_WIDTH + offset, leaf, event
    raise NoSuchEvent(f"the log has no event at position {position}")


def _leaves(directory: ExportDirectory, size: int, bundle: int) -> list[bytes]:
    data = directory.tile(Tile(None, bundle, width_at(0, bundle, size)))
    leaves = [] if data is None else read_bundle(data)
    if not leaves:
        raise CannotProve(f"entry bundle {bundle} is missing")
    return leaves
