"""Ten thousand ways to change an export, as somebody could who owns the server and every file."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from domain.transparency import merkle
from domain.transparency.tiles import append, bundle, bundles_of, tile_path
from infrastructure.log_export import verification
from infrastructure.log_export.directory import CHECKPOINT, TILES
from infrastructure.log_export.signed_tree import SignedTree
from infrastructure.log_export.verification import verify
from tests.infrastructure.log_export.stage import Log, leaves_of

TAMPERINGS = 10_000
PARTS = 4
SIZES = (1, 2, 3, 7, 20, 40, 256, 257, 300)

Files = dict[str, bytes]
Tampering = Callable[[random.Random, Log, Files], None]


def _some(chance: random.Random, files: Files) -> str:
    return chance.choice(sorted(files))


def edit(chance: random.Random, log: Log, files: Files) -> None:
    """One bit of one file, the checkpoint's too."""
    path = _some(chance, files)
    data = bytearray(files[path])
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    files[path] = bytes(data)


def delete(chance: random.Random, log: Log, files: Files) -> None:
    del files[_some(chance, files)]


def truncate(chance: random.Random, log: Log, files: Files) -> None:
    path = _some(chance, files)
    files[path] = files[path][: chance.randrange(len(files[path]))]


def insert(chance: random.Random, log: Log, files: Files) -> None:
    """Bytes that nobody signed, or a whole leaf again."""
    path = _some(chance, files)
    at = chance.randrange(len(files[path]) + 1)
    more = chance.choice([bundle([chance.choice(log.leaves)]), b"\0", b"\n", chance.randbytes(32)])
    files[path] = files[path][:at] + more + files[path][at:]


def swap(chance: random.Random, log: Log, files: Files) -> None:
    """Two leaves, in their bundles alone or with all that is computed from them."""
    first, second = (chance.randrange(len(log.leaves)) for _ in range(2))
    leaves = [*log.leaves]
    leaves[first], leaves[second] = leaves[second], leaves[first]
    _rewrite(files, leaves, tiles_too=chance.random() < 0.5)


def rewrite(chance: random.Random, log: Log, files: Files) -> None:
    """One leaf, and every tile above it: all but the signature is as it should be."""
    leaves = [*log.leaves]
    at = chance.randrange(len(leaves))
    leaves[at] = leaves[at].replace(b"lost", b"sold")
    _rewrite(files, leaves, tiles_too=True)


def roll_back(chance: random.Random, log: Log, files: Files) -> None:
    """To a checkpoint that this key did sign, of a log that was shorter."""
    files[CHECKPOINT] = log.checkpoint(chance.randrange(len(log.leaves))).encode()


def shorten(chance: random.Random, log: Log, files: Files) -> None:
    """The last leaves and all that is computed from them, but not the checkpoint."""
    kept = log.leaves[: chance.randrange(len(log.leaves))]
    for path in [path for path in files if path != CHECKPOINT]:
        del files[path]
    _rewrite(files, kept, tiles_too=True)


def fork(chance: random.Random, log: Log, files: Files) -> None:
    """A whole other log, signed by a key that is not the log's."""
    leaves = [*log.leaves]
    at = chance.randrange(len(leaves))
    leaves[at] = leaves[at].replace(b"lost", b"sold")
    _rewrite(files, leaves, tiles_too=True)
    files[CHECKPOINT] = Log(leaves, seed=chance.randbytes(32)).checkpoint().encode()


def sign_again(chance: random.Random, log: Log, files: Files) -> None:
    """The very same log under another key, with or without the true signature's name."""
    other = Log(log.leaves, seed=chance.randbytes(32))
    files[CHECKPOINT] = other.checkpoint().encode()


def exchange(chance: random.Random, log: Log, files: Files) -> None:
    """Two files take each other's place."""
    first, second = _some(chance, files), _some(chance, files)
    files[first], files[second] = files[second], files[first]


def _rewrite(files: Files, leaves: list[bytes], *, tiles_too: bool) -> None:
    for tile in bundles_of(len(leaves)):
        start = tile.index * 256
        files[tile_path(tile)] = bundle(leaves[start : start + tile.width])
    if tiles_too:
        for tile, data in append(0, {}, [merkle.leaf_hash(each) for each in leaves])[1]:
            files[tile_path(tile)] = data


TAMPERING: tuple[Tampering, ...] = (
    edit,
    delete,
    truncate,
    insert,
    swap,
    rewrite,
    roll_back,
    shorten,
    fork,
    sign_again,
    exchange,
)


class Exports:
    """Whole exports of every size, whose files are changed and put back."""

    def __init__(self, root: Path) -> None:
        self.logs = {size: Log(leaves_of(size)) for size in SIZES}
        self.directories = {size: log.write(root / str(size)) for size, log in self.logs.items()}
        self.whole = {
            size: {path: directory.read(path) or b"" for path in directory.below("")}
            for size, directory in self.directories.items()
        }

    def tampered(self, chance: random.Random) -> tuple[str, verification.Verdict] | None:
        """A random change and its verdict; None when the change changed nothing."""
        size = chance.choice(SIZES)
        log, directory, whole = self.logs[size], self.directories[size], self.whole[size]
        tampering = chance.choice(TAMPERING)
        files = dict(whole)
        tampering(chance, log, files)
        if files == whole:
            return None
        touched = {path for path in {*files, *whole} if files.get(path) != whole.get(path)}
        for path in touched:
            self._put(directory.root / path, files.get(path))
        verdict = verify(directory.root, log.trust)
        for path in touched:
            self._put(directory.root / path, whole.get(path))
        return f"{tampering.__name__} of {size}", verdict

    @staticmethod
    def _put(path: Path, data: bytes | None) -> None:
        if data is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


@pytest.mark.parametrize("part", range(PARTS))
def test_no_tampering_is_verified(tmp_path: Path, part: int) -> None:
    exports = Exports(tmp_path)
    chance = random.Random(f"tampering {part}")  # noqa: S311 - to be had again
    done = 0
    while done < TAMPERINGS // PARTS:
        found = exports.tampered(chance)
        if found is None:
            continue
        name, verdict = found
        assert not verdict.ok, name
        assert verdict.reason is not None
        index, size = verdict.first_bad_index, verdict.size
        assert index is None or (size is not None and 0 <= index <= size), name
        done += 1
    for size, directory in exports.directories.items():
        assert verify(directory.root, exports.logs[size].trust).ok


def test_the_search_finds_a_verifier_that_forgets_the_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: hash tiles are not compared and what lies beyond is not looked for."""

    def no_faults(_: object) -> list[object]:
        return []

    monkeypatch.setattr(SignedTree, "faults", no_faults)
    monkeypatch.setattr(verification, "faults_of", no_faults)
    exports = Exports(tmp_path)
    chance = random.Random("tampering 0")  # noqa: S311 - to be had again
    assert any(
        found is not None and found[1].ok
        for found in (exports.tampered(chance) for _ in range(500))
    )


def test_what_is_tampered_with_is_all_there_is(tmp_path: Path) -> None:
    directory = Log(leaves_of(300)).write(tmp_path)
    assert {path.split("/")[0] for path in directory.below("")} == {CHECKPOINT, TILES}
