"""The tree over the leaves of an export, and where it parts from the one that was signed."""

from collections.abc import Iterable, Sequence

from domain.transparency import merkle
from domain.transparency.merkle import HASH_BYTES
from domain.transparency.tiles import TILE_WIDTH, Tile, TileHashes, edge
from infrastructure.log_export.directory import ExportDirectory
from infrastructure.log_export.leaf_hashes import Chunk, Fault, filed_fold, first_difference
from infrastructure.log_export.reasons import Refused


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
        return tree_root(self._size, self._computed)

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
        if len(filed) < len(border) or tree_root(self._size, filed) != signed_root:
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


def tree_root(size: int, tiles: dict[tuple[int, int], bytes]) -> bytes | None:
    """Of the tree of this size over these tiles by level and index; None when one is missing."""
    try:
        return merkle.root(size, TileHashes(tiles))
    except (KeyError, ValueError):
        return None
