"""From entry bundles to hashes: the long part of a verification, spread over processes.

Two leaves of a chunk are never compared with those of another here; whoever puts the chunks
together does that.
"""

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import Final, Literal

import msgspec

from domain.transparency.merkle import HASH_BYTES, fold
from domain.transparency.tiles import (
    TILE_WIDTH,
    BundleMalformed,
    Tile,
    read_bundle,
    split_hashes,
    width_at,
)
from infrastructure.log_export.directory import ExportDirectory

BUNDLES_PER_CHUNK: Final = 64
"""16,384 leaves, about 10 MB: seconds of work would make progress jump, less would not pay."""

WORTH_PROCESSES: Final = 4
"""Fewer chunks than that are done before other processes would have started."""

Fault = Literal["leaf_missing", "leaf_malformed", "tile_missing", "tile_changed"]


class Differing(msgspec.Struct, frozen=True):
    """A tile of level 0 that is not what its leaves hash to; both as bytes."""

    index: int
    computed: bytes
    filed: bytes


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """What consecutive bundles come to.

    `folds` has the root of each full bundle, `partial` the leaf hashes of the last one if it is
    not full. `faults` are leaf indices with what is wrong there. `first` and `last` are the
    positions of the chunk's outer leaves; None when no leaf could be read.
    """

    folds: list[bytes]
    partial: bytes
    faults: list[tuple[int, Fault]]
    differing: list[Differing]
    tenant_id: bytes | None
    first: int | None
    last: int | None


# A leaf has one spelling, so its head need not be parsed as JSON, which takes twice as long.
_HEAD: Final = re.compile(
    rb'\{"v":1,"position":([1-9][0-9]{0,18}),"recorded_at":"[0-9TZ:.-]{27}",'
    rb'"tenant_id":"([0-9a-f-]{36})",'
)


def chunks(
    root: Path, size: int, progress: Callable[[int], None], processes: int | None = None
) -> Iterator[Chunk]:
    """All leaves of the log, in order; `progress` is told how many leaves have been hashed."""
    bundles = -(-size // TILE_WIDTH)
    spans = [
        (begin, min(begin + BUNDLES_PER_CHUNK, bundles))
        for begin in range(0, bundles, BUNDLES_PER_CHUNK)
    ]
    workers = processes or (os.cpu_count() or 1 if len(spans) >= WORTH_PROCESSES else 1)
    for (_, end), chunk in zip(spans, _worked(root, size, spans, workers), strict=True):
        progress(min(end * TILE_WIDTH, size))
        yield chunk


def _worked(
    root: Path, size: int, spans: Sequence[tuple[int, int]], workers: int
) -> Iterator[Chunk]:
    if workers == 1:
        for begin, end in spans:
            yield read_chunk(root, size, begin, end)
        return
    # A fork costs nothing; beside other threads it may inherit a lock that nobody releases.
    alone = threading.active_count() == 1 and "fork" in get_all_start_methods()
    context = get_context("fork" if alone else "spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        running = [pool.submit(read_chunk, root, size, begin, end) for begin, end in spans]
        for future in running:
            yield future.result()


def read_chunk(root: Path, size: int, begin: int, end: int) -> Chunk:
    """The bundles `[begin, end)` of a log of `size` leaves, held against their tiles."""
    directory = ExportDirectory(root)
    folds: list[bytes] = []
    partial = b""
    faults: list[tuple[int, Fault]] = []
    differing: list[Differing] = []
    heads = _Heads()
    for index in range(begin, end):
        width = width_at(0, index, size)
        leaves, fault = _leaves(directory, Tile(None, index, width))
        if fault is not None:
            faults.append((index * TILE_WIDTH + len(leaves), fault))
        bad = heads.take(leaves)
        if bad is not None:
            faults.append((index * TILE_WIDTH + bad, "leaf_malformed"))
        hashes = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
        row = b"".join(hashes)
        if width == TILE_WIDTH:
            folds.append(fold(hashes))
        else:
            partial = row
        filed = directory.tile(Tile(0, index, width))
        if filed is None:
            faults.append((index * TILE_WIDTH, "tile_missing"))
        elif filed != row:
            differing.append(Differing(index, row, filed))
            at = index * TILE_WIDTH + first_difference(row, filed)
            faults.append((at, "tile_changed"))
    return Chunk(
        folds=folds,
        partial=partial,
        faults=faults,
        differing=differing,
        tenant_id=heads.tenant_id,
        first=heads.first,
        last=heads.last,
    )


def first_difference(row: bytes, other: bytes) -> int:
    """Which hash is the first that stands in one of the rows and not so in the other."""
    shorter = min(len(row), len(other)) // HASH_BYTES
    for index in range(shorter):
        start = index * HASH_BYTES
        if row[start : start + HASH_BYTES] != other[start : start + HASH_BYTES]:
            return index
    return shorter


def filed_fold(tile: bytes) -> bytes | None:
    """The root over a tile as it lies in the export; None when it is not whole hashes."""
    try:
        return fold(split_hashes(tile))
    except ValueError:
        return None


def _leaves(directory: ExportDirectory, bundle: Tile) -> tuple[list[bytes], Fault | None]:
    """As many leaves as can be read, at most so many as the bundle is wide."""
    data = directory.tile(bundle)
    if data is None:
        return [], "leaf_missing"
    try:
        leaves = read_bundle(data)
    except BundleMalformed:
        return [], "leaf_missing"
    if len(leaves) != bundle.width:
        return leaves[: bundle.width], "leaf_missing"
    return leaves, None


class _Heads:
    """That leaves are of one tenant and their positions ascend."""

    def __init__(self) -> None:
        self.tenant_id: bytes | None = None
        self.first: int | None = None
        self.last: int | None = None

    def take(self, leaves: Sequence[bytes]) -> int | None:
        """Which of the leaves is the first that is none; None when all are."""
        for index, leaf in enumerate(leaves):
            head = _HEAD.match(leaf)
            if head is None:
                return index
            position, tenant_id = int(head[1]), head[2]
            if self.last is None:
                self.tenant_id, self.first = tenant_id, position
            elif tenant_id != self.tenant_id or position <= self.last:
                return index
            self.last = position
        return None
