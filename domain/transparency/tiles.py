"""Tiles: how a log lies in files (C2SP tlog-tiles).

A tile holds 256 consecutive hashes of one level, where level 0 holds leaf hashes and each hash
of level L + 1 is the root over one full tile of level L. The last tile of a level is partial,
`w` hashes wide. An entry bundle holds the leaves that the tile of level 0 has hashes of.
"""

import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from domain.transparency.merkle import HASH_BYTES, Span, cover, fold

TILE_WIDTH: Final = 256
TILE_HEIGHT: Final = 8
LEAF_BYTES_MAX: Final = 0xFFFF

ENTRIES: Final = "entries"
_PATH = re.compile(
    r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)


class Tile(msgspec.Struct, frozen=True):
    """`level` is None for an entry bundle."""

    level: int | None
    index: int
    width: int = TILE_WIDTH


class BundleMalformed(Exception):
    """The bytes are not a sequence of length-prefixed entries."""


def tile_path(tile: Tile) -> str:
    """Where a tile lies below the log's prefix, `tile/0/x001/234.p/17`."""
    digits = f"{tile.index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    name = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    level = ENTRIES if tile.level is None else str(tile.level)
    suffix = "" if tile.width == TILE_WIDTH else f".p/{tile.width}"
    return f"tile/{level}/{name}{suffix}"


def read_tile_path(path: str) -> Tile | None:
    """The tile of a path, or None: only the one spelling that `tile_path` writes is read."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    level = None if found[1] == ENTRIES else int(found[1])
    width = TILE_WIDTH if found[3] is None else int(found[3])
    tile = Tile(level, int(found[2].replace("x", "").replace("/", "")), width)
    if (level or 0) > 63 or (found[3] is not None and width >= TILE_WIDTH):
        return None
    return tile if tile_path(tile) == path else None


def width_at(level: int, index: int, size: int) -> int:
    """How many hashes the tile has in a tree of `size` leaves; 0 when it is not there."""
    return max(0, min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH))


def in_tree(tile: Tile, size: int) -> bool:
    """Whether a tree of `size` leaves has a tile that is at least so wide."""
    return 0 < tile.width <= width_at(tile.level or 0, tile.index, size)


def tiles_of(size: int) -> list[Tile]:
    """Every hash tile of a tree, level by level, as wide as it is there."""
    found: list[Tile] = []
    level = 0
    while size >> (TILE_HEIGHT * level):
        hashes = size >> (TILE_HEIGHT * level)
        full, rest = divmod(hashes, TILE_WIDTH)
        found.extend(Tile(level, index) for index in range(full))
        if rest:
            found.append(Tile(level, full, rest))
        level += 1
    return found


def bundles_of(size: int) -> list[Tile]:
    """Every entry bundle of a log, as wide as it is there."""
    full, rest = divmod(size, TILE_WIDTH)
    found = [Tile(None, index) for index in range(full)]
    return [*found, Tile(None, full, rest)] if rest else found


def edge(size: int) -> list[Tile]:
    """The partial tiles at the right of a tree, from level 0 up: what appending needs to know.

    A level that is full to the brim has none.
    """
    found: list[Tile] = []
    level = 0
    while hashes := size >> (TILE_HEIGHT * level):
        if hashes % TILE_WIDTH:
            found.append(Tile(level, hashes // TILE_WIDTH, hashes % TILE_WIDTH))
        level += 1
    return found


def append(
    size: int, partial: Mapping[int, bytes], leaves: Sequence[bytes]
) -> tuple[dict[int, bytes], list[tuple[Tile, bytes]]]:
    """Leaf hashes added to a tree whose `edge` holds the bytes `partial`, by level.

    Returns the new edge by level, and every tile that is new or wider than before, level by
    level and in order; a tile that became full is among them.
    """
    new_edge = {level: hashes for level, hashes in partial.items() if hashes}
    written: list[tuple[Tile, bytes]] = []
    level, coming = 0, list(leaves)
    while coming:
        first = (size >> (TILE_HEIGHT * level)) // TILE_WIDTH
        row = new_edge.pop(level, b"") + b"".join(coming)
        coming = []
        for offset, start in enumerate(range(0, len(row), TILE_WIDTH * HASH_BYTES)):
            hashes = row[start : start + TILE_WIDTH * HASH_BYTES]
            width = len(hashes) // HASH_BYTES
            written.append((Tile(level, first + offset, width), hashes))
            if width == TILE_WIDTH:
                coming.append(fold(split_hashes(hashes)))
            else:
                new_edge[level] = hashes
        level += 1
    return new_edge, written


def split_hashes(tile: bytes) -> list[bytes]:
    """Raises ValueError when the bytes are not whole hashes."""
    if len(tile) % HASH_BYTES:
        raise ValueError(f"{len(tile)} bytes are not whole hashes")
    return [tile[start : start + HASH_BYTES] for start in range(0, len(tile), HASH_BYTES)]


def tiles_for(spans: Iterable[Span], size: int) -> set[Tile]:
    """Which tiles of a tree of `size` leaves give the hashes of these spans."""
    found: set[Tile] = set()
    for span in spans:
        for level, index in cover(span):
            tile_level, tile_index, _, _ = _place(level, index)
            width = width_at(tile_level, tile_index, size)
            found.add(Tile(tile_level, tile_index, width))
    return found


class TileHashes:
    """The hash of any node that lies in the tiles given, by (level, index); at least so wide as
    asked for. Use it as the `HashAt` of `domain.transparency.merkle`."""

    def __init__(self, tiles: Mapping[tuple[int, int], bytes]) -> None:
        self._tiles = tiles

    def __call__(self, level: int, index: int) -> bytes:
        """Raises KeyError when the tile is not there or too narrow."""
        tile_level, tile_index, first, count = _place(level, index)
        tile = self._tiles[tile_level, tile_index]
        start, end = first * HASH_BYTES, (first + count) * HASH_BYTES
        if len(tile) < end:
            raise KeyError((tile_level, tile_index))
        return fold(split_hashes(tile[start:end]))


def _place(level: int, index: int) -> tuple[int, int, int, int]:
    """The tile's level and index, and which of its hashes the node is the root of."""
    tile_level, height = divmod(level, TILE_HEIGHT)
    tile_index, first = divmod(index << height, TILE_WIDTH)
    return tile_level, tile_index, first, 1 << height


def bundle(leaves: Iterable[bytes]) -> bytes:
    """Leaves as an entry bundle: each with its length, uint16 big-endian, in front.

    Raises ValueError for a leaf of more than 65,535 bytes.
    """
    parts: list[bytes] = []
    for leaf in leaves:
        if len(leaf) > LEAF_BYTES_MAX:
            raise ValueError(f"a leaf of {len(leaf)} bytes, {LEAF_BYTES_MAX} fit")
        parts += (struct.pack(">H", len(leaf)), leaf)
    return b"".join(parts)


def read_bundle(data: bytes) -> list[bytes]:
    """The leaves of an entry bundle. Raises BundleMalformed when it is cut short."""
    leaves: list[bytes] = []
    at, end = 0, len(data)
    while at < end:
        start = at + 2
        at = start + int.from_bytes(data[at:start], "big")
        if start > end or at > end:
            raise BundleMalformed(f"entry {len(leaves)} is cut short")
        leaves.append(data[start:at])
    return leaves
