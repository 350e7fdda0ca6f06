"""The Merkle trees in PostgreSQL: grown a batch at a time, read a few tiles at a time.

Only the keeper grows trees, in the transaction that moves its position; what is in a tile never
changes, it only gets longer at its end.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, LiteralString

from domain.ids import TenantId
from domain.transparency import tiles
from domain.transparency.merkle import HASH_BYTES, Span
from domain.transparency.tiles import TileHashes
from infrastructure.database import Connection

Leaf = tuple[int, bytes]
"""Where a leaf comes from (its event's position) and its hash."""

_SIZES: Final[LiteralString] = """
    SELECT log_id, size FROM public.transparency_trees WHERE log_id = ANY(%s)"""

# The tile of each level that the next leaf goes to, or its hash once full; there is none yet
# where the level is full to the brim.
_EDGES: Final[LiteralString] = """
    SELECT tree.log_id, tile.level, tile.hashes
    FROM public.transparency_trees tree
    CROSS JOIN generate_series(0, 7) AS at (level)
    JOIN public.transparency_tiles tile
        ON tile.log_id = tree.log_id AND tile.level = at.level
        AND tile.tile_index = (tree.size >> (8 * at.level)) / 256
    WHERE tree.log_id = ANY(%s)"""

_PUT_TILES: Final[LiteralString] = """
    INSERT INTO public.transparency_tiles (log_id, level, tile_index, first_position, hashes)
    SELECT * FROM unnest(%s::uuid[], %s::int[], %s::bigint[], %s::bigint[], %s::bytea[])
    ON CONFLICT (log_id, level, tile_index) DO UPDATE SET hashes = excluded.hashes"""

_PUT_SIZES: Final[LiteralString] = """
    INSERT INTO public.transparency_trees (log_id, size)
    SELECT * FROM unnest(%s::uuid[], %s::bigint[])
    ON CONFLICT (log_id) DO UPDATE SET size = excluded.size"""

_TILES: Final[LiteralString] = """
    SELECT tile.level, tile.tile_index, tile.hashes
    FROM unnest(%s::int[], %s::bigint[]) AS wanted (level, tile_index)
    JOIN public.transparency_tiles tile
        ON tile.log_id = %s AND tile.level = wanted.level AND tile.tile_index = wanted.tile_index"""


class TreeDamaged(Exception):
    """The tiles are not those of a tree of the size that stands beside them."""


async def grow(
    connection: Connection, leaves: Mapping[TenantId, Sequence[Leaf]]
) -> Mapping[TenantId, int]:
    """Put leaves at the end of their trees; the new sizes. Part of the caller's transaction.

    Raises TreeDamaged.
    """
    logs = list(leaves)
    sizes: dict[TenantId, int] = dict.fromkeys(logs, 0)
    sizes.update(await (await connection.execute(_SIZES, (logs,))).fetchall())
    edges: dict[TenantId, dict[int, bytes]] = {log_id: {} for log_id in logs}
    for log_id, level, hashes in await (await connection.execute(_EDGES, (logs,))).fetchall():
        edges[log_id][level] = hashes
    rows: list[tuple[TenantId, int, int, int | None, bytes]] = []
    for log_id, coming in leaves.items():
        size = sizes[log_id]
        _check_edge(log_id, size, edges[log_id])
        _, written = tiles.append(size, edges[log_id], [found for _, found in coming])
        for tile, hashes in written:
            first = None
            if tile.level == 0:
                first = coming[max(tile.index * tiles.TILE_WIDTH - size, 0)][0]
            rows.append((log_id, tile.level or 0, tile.index, first, hashes))
        sizes[log_id] = size + len(coming)
    await connection.execute(_PUT_TILES, [list(column) for column in zip(*rows, strict=True)])
    await connection.execute(_PUT_SIZES, (list(sizes), list(sizes.values())))
    return sizes


async def read_tiles(
    connection: Connection, log_id: TenantId, spans: Iterable[Span], size: int
) -> TileHashes:
    """The hashes that these spans of a tree of `size` leaves need."""
    wanted = list(tiles.tiles_for(spans, size))
    cursor = await connection.execute(
        _TILES, ([tile.level for tile in wanted], [tile.index for tile in wanted], log_id)
    )
    return TileHashes({(row[0], row[1]): row[2] for row in await cursor.fetchall()})


def _check_edge(log_id: TenantId, size: int, edge: Mapping[int, bytes]) -> None:
    widths = {tile.level: tile.width * HASH_BYTES for tile in tiles.edge(size)}
    if widths != {level: len(hashes) for level, hashes in edge.items()}:
        raise TreeDamaged(f"the tiles of log {log_id} are not those of {size} leaves")
