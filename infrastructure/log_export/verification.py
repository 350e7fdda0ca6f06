"""Is this export the log that was signed? Answered from the files and a key, and nothing else.

Every leaf is hashed and the tree built anew, so the root says it of all leaves at once: a leaf is
in the signed tree at its index, which is what an inclusion proof of each would show. Only when the
root is another are the stored tiles asked, to name the first leaf that is not the signed one.
"""

import base64
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from domain.transparency import merkle
from domain.transparency.checkpoint import Checkpoint
from domain.transparency.merkle import HASH_BYTES
from domain.transparency.note import NoteMalformed, NoteUnverified, VerifierKey, read_note
from domain.transparency.proof import open_checkpoint
from domain.transparency.tiles import (
    TILE_WIDTH,
    Tile,
    TileHashes,
    edge,
    in_tree,
    read_tile_path,
    tiles_for,
)
from infrastructure.log_export.directory import (
    CHECKPOINT,
    CHECKPOINTS,
    TILES,
    ExportDirectory,
)
from infrastructure.log_export.leaf_hashes import (
    Chunk,
    Fault,
    chunks,
    filed_fold,
    first_difference,
)
from infrastructure.transparency.ed25519 import verify as ed25519

Reason = Literal[
    "checkpoint_missing",
    "checkpoint_malformed",
    "signature_invalid",
    "leaf_missing",
    "leaf_changed",
    "leaf_malformed",
    "tile_missing",
    "tile_changed",
    "root_differs",
    "beyond_checkpoint",
    "earlier_checkpoint_differs",
    "rolled_back",
]

MEANINGS: Final[dict[Reason, str]] = {
    "checkpoint_missing": "there is no checkpoint in the export",
    "checkpoint_malformed": "the checkpoint is not a signed note",
    "signature_invalid": "the checkpoint is not signed by this key, or by too few witnesses",
    "leaf_missing": "a leaf is not there, or there are too many",
    "leaf_changed": "a leaf is not the one that was signed",
    "leaf_malformed": "a leaf is signed and yet no event of this log in its order",
    "tile_missing": "the leaves are those that were signed, but a tile of hashes is missing",
    "tile_changed": "the leaves are those that were signed, but a tile of hashes is not theirs",
    "root_differs": "the leaves make another tree than the one that was signed",
    "beyond_checkpoint": "there are files that a log of this size does not have",
    "earlier_checkpoint_differs": "an earlier checkpoint is of another log, or not signed",
    "rolled_back": "an earlier checkpoint was larger: leaves have been taken away",
}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`root` is base64, as in the checkpoint; size and root are what the checkpoint says.

    `first_bad_index` is the first leaf that is not proved to be the signed one. It is None when
    nothing is wrong, and when no leaf can be singled out.
    """

    ok: bool
    size: int | None = None
    root: str | None = None
    first_bad_index: int | None = None
    reason: Reason | None = None


class Refused(Exception):
    """The export is not what was signed."""

    def __init__(self, reason: Reason, index: int | None = None) -> None:
        self.reason: Reason = reason
        self.index = index
        super().__init__(reason)


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the auditor believes: the log's key and, where wanted, some of these witnesses."""

    log_key: VerifierKey
    witnesses: tuple[VerifierKey, ...] = ()
    witnesses_required: int = 0

    def opened(self, text: bytes) -> Checkpoint:
        """Raises NoteMalformed, NoteUnverified."""
        try:
            note = read_note(text.decode())
        except UnicodeDecodeError as error:
            raise NoteMalformed("not UTF-8") from error
        return open_checkpoint(note, self.log_key, ed25519, self.witnesses, self.witnesses_required)


def _silent(_leaves: int) -> None:
    return


def verify(
    root: Path,
    trust: Trust,
    *,
    earlier: Iterable[bytes] = (),
    progress: Callable[[int], None] = _silent,
    processes: int | None = None,
) -> Verdict:
    """`earlier` are checkpoints that the auditor has kept. Raises NotAnExport."""
    directory = ExportDirectory(root)
    directory.check_there()
    checkpoint: Checkpoint | None = None
    try:
        checkpoint = _checkpoint(directory, trust)
        _verify(directory, trust, checkpoint, list(earlier), progress, processes)
    except Refused as refused:
        return _verdict(checkpoint, refused)
    return _verdict(checkpoint, None)


def _verdict(checkpoint: Checkpoint | None, refused: Refused | None) -> Verdict:
    return Verdict(
        ok=refused is None,
        size=None if checkpoint is None else checkpoint.size,
        root=None if checkpoint is None else base64.b64encode(checkpoint.root).decode(),
        first_bad_index=None if refused is None else refused.index,
        reason=None if refused is None else refused.reason,
    )


def _checkpoint(directory: ExportDirectory, trust: Trust) -> Checkpoint:
    found = directory.read(CHECKPOINT)
    if found is None:
        raise Refused("checkpoint_missing")
    try:
        return trust.opened(found)
    except NoteMalformed as error:
        raise Refused("checkpoint_malformed") from error
    except NoteUnverified as error:
        raise Refused("signature_invalid") from error


def _verify(
    directory: ExportDirectory,
    trust: Trust,
    checkpoint: Checkpoint,
    earlier: Sequence[bytes],
    progress: Callable[[int], None],
    processes: int | None,
) -> None:
    size = checkpoint.size
    found = list(chunks(directory.root, size, progress, processes))
    tree = SignedTree(directory, size, found)
    faults = [*faults_of(found), *tree.faults()]
    if tree.root() != checkpoint.root:
        changed = tree.first_changed(checkpoint.root)
        missing = (changed.index or 0, "leaf_missing") in faults
        raise Refused("leaf_missing", changed.index) if missing else changed
    _check_nothing_beyond(directory, size)
    if faults:
        index, fault = min(faults)
        raise Refused(fault, index)
    kept = [data for path in directory.below(CHECKPOINTS) if (data := directory.read(path))]
    for text in (*kept, *earlier):
        _check_prefix(directory, trust, checkpoint, text)


def faults_of(found: Sequence[Chunk]) -> list[tuple[int, Fault]]:
    """What is wrong within the chunks, and between one and the next."""
    faults = [fault for chunk in found for fault in chunk.faults]
    before: Chunk | None = None
    for number, chunk in enumerate(found):
        if (
            before is not None
            and chunk.first is not None
            and before.last is not None
            and (chunk.first <= before.last or chunk.tenant_id != before.tenant_id)
        ):
            leaves = sum(len(each.folds) for each in found[:number]) * TILE_WIDTH
            faults.append((leaves, "leaf_malformed"))
        before = chunk
    return faults


class SignedTree:
    """The tree over the leaves as they are in the export, beside the tiles that lie there."""

    def __init__(self, directory: ExportDirectory, size: int, found: Sequence[Chunk]) -> None:
        self._directory = directory
        self._size = size
        self._differing = {each.index: each for chunk in found for each in chunk.differing}
        self._computed: dict[tuple[int, int], bytes] = {}
        if found and found[-1].partial:
            self._computed[0, size // TILE_WIDTH] = found[-1].partial
        level, row = 1, [each for chunk in found for each in chunk.folds]
        while row:
            above: list[bytes] = []
            for index, start in enumerate(range(0, len(row), TILE_WIDTH)):
                part = row[start : start + TILE_WIDTH]
                self._computed[level, index] = b"".join(part)
                if len(part) == TILE_WIDTH:
                    above.append(merkle.fold(part))
            level, row = level + 1, above

    def root(self) -> bytes | None:
        """None when leaves are missing, so that there is no tree of this size."""
        return _root(self._size, self._computed)

    def faults(self) -> list[tuple[int, Fault]]:
        """Tiles above the leaves' own that are missing or not what the leaves come to."""
        faults: list[tuple[int, Fault]] = []
        for (level, index), computed in self._computed.items():
            if level == 0:
                continue
            filed = self._filed(level, index)
            if filed is None:
                faults.append((index << 8 * (level + 1), "tile_missing"))
            elif filed != computed:
                at = index * TILE_WIDTH + first_difference(computed, filed)
                faults.append((at << 8 * level, "tile_changed"))
        return faults

    def first_changed(self, signed_root: bytes) -> Refused:
        """The first leaf that the signed tree does not have at its place.

        The tiles at the tree's edge are believed when they lead to the signed root, and each
        tile below them when its own root stands in the one above it.
        """
        border = edge(self._size)
        filed = {
            (tile.level or 0, tile.index): tile_bytes
            for tile in border
            if (tile_bytes := self._directory.tile(tile)) is not None
        }
        if len(filed) < len(border) or _root(self._size, filed) != signed_root:
            return Refused("root_differs", min((i for i, _ in self._leaf_faults()), default=None))
        for tile in reversed(border):
            level = tile.level or 0
            index = self._first_changed_below(level, tile.index, filed[level, tile.index])
            if index is not None:
                return Refused("leaf_changed", index)
        return Refused("root_differs")

    def _first_changed_below(self, level: int, index: int, believed: bytes) -> int | None:
        computed = self._computed_tile(level, index)
        if computed == believed:
            return None
        at = index * TILE_WIDTH + first_difference(computed, believed)
        if level == 0:
            return at
        below = self._filed(level - 1, at)
        hash_above = believed[at % TILE_WIDTH * HASH_BYTES :][:HASH_BYTES]
        if below is None or filed_fold(below) != hash_above:
            return at << 8 * level
        return self._first_changed_below(level - 1, at, below)

    def _computed_tile(self, level: int, index: int) -> bytes:
        if level == 0 and index in self._differing:
            return self._differing[index].computed
        if (level, index) in self._computed:
            return self._computed[level, index]
        # A tile of level 0 that agrees with its leaves was not kept: it is the one on file.
        return self._filed(level, index) or b""

    def _filed(self, level: int, index: int) -> bytes | None:
        width = min(TILE_WIDTH, (self._size >> 8 * level) - index * TILE_WIDTH)
        return self._directory.tile(Tile(level, index, width))

    def _leaf_faults(self) -> Iterable[tuple[int, Fault]]:
        for each in self._differing.values():
            at = first_difference(each.computed, each.filed)
            yield each.index * TILE_WIDTH + at, "tile_changed"


def _root(size: int, tiles: dict[tuple[int, int], bytes]) -> bytes | None:
    try:
        return merkle.root(size, TileHashes(tiles))
    except (KeyError, ValueError):
        return None


def _check_nothing_beyond(directory: ExportDirectory, size: int) -> None:
    """Raises Refused when there is more than what was signed: then it is of another moment.

    A narrower form of a tile may lie beside it, as it is left by an earlier export.
    """
    for path in directory.below(TILES):
        tile = read_tile_path(path)
        if tile is None or not in_tree(tile, size):
            raise Refused("beyond_checkpoint", size)


def _check_prefix(
    directory: ExportDirectory, trust: Trust, checkpoint: Checkpoint, text: bytes
) -> None:
    """That an earlier checkpoint is a prefix of the tree, whose tiles have been found right."""
    try:
        old = trust.opened(text)
    except (NoteMalformed, NoteUnverified) as error:
        raise Refused("earlier_checkpoint_differs") from error
    if old.size > checkpoint.size:
        raise Refused("rolled_back", checkpoint.size)
    hashes: dict[tuple[int, int], bytes] = {}
    for tile in tiles_for([(0, old.size)] if old.size else [], checkpoint.size):
        found = directory.tile(tile)
        assert found is not None, "the tiles were compared with the leaves before"
        hashes[tile.level or 0, tile.index] = found
    if _root(old.size, hashes) != old.root:
        raise Refused("earlier_checkpoint_differs")
