"""Tiles: the example of C2SP's page, and every proof made from tiles as from the leaves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.transparency import merkle as m
from domain.transparency import tiles as t
from tests.domain.transparency.test_merkle import consistency, leaves_of, mth, path


def test_the_tree_of_70000_leaves() -> None:
    """The example of C2SP tlog-tiles."""
    found = t.tiles_of(70_000)
    full = [tile for tile in found if tile.width == 256]
    assert len([tile for tile in full if tile.level == 0]) == 273
    assert [tile for tile in full if tile.level] == [t.Tile(1, 0)]
    assert [tile for tile in found if tile.width < 256] == [
        t.Tile(0, 273, 112),
        t.Tile(1, 1, 17),
        t.Tile(2, 0, 1),
    ]
    assert t.edge(70_000) == [t.Tile(0, 273, 112), t.Tile(1, 1, 17), t.Tile(2, 0, 1)]
    assert t.tiles_of(256) == [t.Tile(0, 0), t.Tile(1, 0, 1)]
    assert t.bundles_of(257) == [t.Tile(None, 0), t.Tile(None, 1, 1)]
    assert t.bundles_of(0) == t.tiles_of(0) == []


@pytest.mark.parametrize(
    ("tile", "path_"),
    [
        (t.Tile(0, 1234067), "tile/0/x001/x234/067"),
        (t.Tile(None, 1234067, 9), "tile/entries/x001/x234/067.p/9"),
        (t.Tile(0, 0), "tile/0/000"),
        (t.Tile(3, 999, 255), "tile/3/999.p/255"),
        (t.Tile(1, 1000, 1), "tile/1/x001/000.p/1"),
    ],
)
def test_paths(tile: t.Tile, path_: str) -> None:
    assert t.tile_path(tile) == path_
    assert t.read_tile_path(path_) == tile


@given(
    level=st.none() | st.integers(0, 63),
    index=st.integers(0, 2**55),
    width=st.integers(1, 256),
)
def test_every_path_is_read_back(level: int | None, index: int, width: int) -> None:
    tile = t.Tile(level, index, width)
    assert t.read_tile_path(t.tile_path(tile)) == tile


@pytest.mark.parametrize(
    "path_",
    [
        "",
        "tile/0",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/000",
        "tile/0/x001/x234/067.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/0/../000",
        "tile/entry/000",
        "tile/0/\u0660\u0660\u0660",
        "tile/0/" + "x001/" * 9 + "000",
    ],
)
def test_any_other_spelling_is_no_tile(path_: str) -> None:
    assert t.read_tile_path(path_) is None


def build(leaves: list[bytes], steps: list[int]) -> dict[tuple[int, int], bytes]:
    """Tiles of a log that grew in these steps."""
    tiles: dict[tuple[int, int], bytes] = {}
    edge: dict[int, bytes] = {}
    size = 0
    for step in steps:
        hashes = [m.leaf_hash(leaf) for leaf in leaves[size : size + step]]
        edge, written = t.append(size, edge, hashes)
        size += len(hashes)
        for tile, data in written:
            assert tile.level is not None
            assert len(data) == tile.width * 32
            tiles[tile.level, tile.index] = data
        assert {(tile.level, tile.width * 32) for tile in t.edge(size)} == {
            (level, len(data)) for level, data in edge.items()
        }
    return tiles


@given(steps=st.lists(st.integers(0, 700), min_size=1, max_size=6), data=st.data())
def test_a_log_that_grows_in_any_steps(steps: list[int], data: st.DataObject) -> None:
    size = sum(steps)
    leaves = leaves_of(size)
    tiles = build(leaves, steps)
    assert {(tile.level, tile.index): tile.width for tile in t.tiles_of(size)} == {
        place: len(found) // 32 for place, found in tiles.items()
    }
    at = t.TileHashes(tiles)
    assert m.root(size, at) == mth(leaves)
    if not size:
        return
    smaller = data.draw(st.integers(1, size))
    index = data.draw(st.integers(0, smaller - 1))
    assert m.root(smaller, at) == mth(leaves[:smaller])
    assert m.prove_inclusion(index, smaller, at) == path(index, leaves[:smaller])
    assert m.prove_consistency(smaller, size, at) == consistency(smaller, leaves)


@given(size=st.integers(1, 200_000), data=st.data())
def test_the_tiles_that_a_proof_needs_are_in_the_tree(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    for spans in (m.inclusion_spans(index, size), m.consistency_spans(index, size), [(0, size)]):
        needed = t.tiles_for(spans, size)
        assert all(t.in_tree(tile, size) for tile in needed)
        assert needed <= set(t.tiles_of(size))


def test_the_tiles_named_are_enough() -> None:
    leaves = leaves_of(70_000)
    tiles = build(leaves, [70_000])
    for index, size in ((0, 1), (0, 70_000), (69_999, 70_000), (65_535, 65_536), (300, 65_537)):
        spans = m.inclusion_spans(index, size)
        at = t.TileHashes(
            {
                (tile.level or 0, tile.index): tiles[tile.level or 0, tile.index][: tile.width * 32]
                for tile in t.tiles_for([*spans, (0, size)], size)
            }
        )
        root = m.root(size, at)
        m.check_inclusion(
            index, size, m.leaf_hash(leaves[index]), m.prove_inclusion(index, size, at), root
        )


def test_a_narrow_tile_does_not_answer_for_a_wide_one() -> None:
    at = t.TileHashes({(0, 0): bytes(32)})
    with pytest.raises(KeyError):
        at(1, 0)
    with pytest.raises(ValueError, match="whole hashes"):
        t.split_hashes(bytes(33))


@given(leaves=st.lists(st.binary(max_size=400), max_size=20))
def test_bundles(leaves: list[bytes]) -> None:
    assert t.read_bundle(t.bundle(leaves)) == leaves


def test_bundles_at_their_limits() -> None:
    assert t.bundle([b"ab", b""]) == b"\x00\x02ab\x00\x00"
    longest = bytes(65_535)
    assert t.read_bundle(t.bundle([longest])) == [longest]
    with pytest.raises(ValueError, match="65535 fit"):
        t.bundle([bytes(65_536)])
    for cut in (b"\x00", b"\x00\x01", b"\x00\x01a\x00"):
        with pytest.raises(t.BundleMalformed):
            t.read_bundle(cut)


def test_what_is_in_a_tree() -> None:
    assert t.in_tree(t.Tile(0, 0, 5), 5)
    assert not t.in_tree(t.Tile(0, 0, 6), 5)
    assert not t.in_tree(t.Tile(0, 0), 255)
    assert t.in_tree(t.Tile(1, 0, 1), 256)
    assert not t.in_tree(t.Tile(1, 0, 1), 255)
    assert t.in_tree(t.Tile(None, 1, 1), 257)
    assert not t.in_tree(t.Tile(63, 0, 1), 2**63 - 1)
