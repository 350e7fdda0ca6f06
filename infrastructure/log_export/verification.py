"""Is this export the log that was signed? Answered from the files and a key, and nothing else.

Every leaf is hashed and the tree built anew, so the root says it of all leaves at once: a leaf is
in the signed tree at its index, which is what an inclusion proof of each would show. Only when the
root is another are the stored tiles asked, to name the first leaf that is not the signed one.
"""

import base64
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from domain.transparency.checkpoint import Checkpoint
from domain.transparency.note import NoteMalformed, NoteUnverified, VerifierKey, read_note
from domain.transparency.proof import open_checkpoint
from domain.transparency.tiles import in_tree, read_tile_path, tiles_for
from infrastructure.log_export.directory import (
    CHECKPOINT,
    CHECKPOINTS,
    TILES,
    ExportDirectory,
)
from infrastructure.log_export.leaf_hashes import chunks
from infrastructure.log_export.reasons import Reason, Refused
from infrastructure.log_export.signed_tree import SignedTree, faults_of, tree_root
from infrastructure.transparency.ed25519 import verify as ed25519


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
    if tree_root(old.size, hashes) != old.root:
        raise Refused("earlier_checkpoint_differs")
