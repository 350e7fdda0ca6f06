"""An export is what was signed, or the first leaf that is not is named."""

import base64
import shutil
from pathlib import Path

import pytest

from domain.transparency import merkle
from domain.transparency.note import SignedNote, VerifierKey, cosign, read_note
from domain.transparency.tiles import Tile, bundle, read_bundle, tile_path
from infrastructure.log_export.directory import CHECKPOINT, CHECKPOINTS, NotAnExport
from infrastructure.log_export.reasons import MEANINGS
from infrastructure.log_export.verification import Trust, Verdict, verify
from infrastructure.transparency.ed25519 import NoteSigner
from tests.infrastructure.log_export.stage import Log, leaves_of

SIZES = (0, 1, 2, 255, 256, 257, 700, 1024)


def refused(verdict: Verdict) -> tuple[str | None, int | None]:
    assert not verdict.ok
    return verdict.reason, verdict.first_bad_index


@pytest.mark.parametrize("size", SIZES)
def test_a_whole_export_is_verified(tmp_path: Path, size: int) -> None:
    log = Log(leaves_of(size))
    log.write(tmp_path / "export")
    verdict = verify(tmp_path / "export", log.trust)
    root = merkle.fold([merkle.leaf_hash(each) for each in log.leaves])
    assert verdict == Verdict(ok=True, size=size, root=base64.b64encode(root).decode())


def test_a_log_of_three_levels_is_verified_by_several_processes_and_progress_is_told(
    tmp_path: Path,
) -> None:
    """66,000 leaves: five chunks, and a tile of level 2."""
    log = Log(leaves_of(66_000))
    directory = log.write(tmp_path / "export")
    told: list[int] = []
    assert verify(directory.root, log.trust, progress=told.append, processes=2).ok
    assert told == sorted(told)
    assert told[-1] == 66_000
    path = tile_path(Tile(None, 200))
    leaves = read_bundle(directory.read(path) or b"")
    leaves[17] = leaves[17].replace(b"lost", b"sold")
    directory.write(path, bundle(leaves))
    verdict = verify(directory.root, log.trust, processes=2)
    assert refused(verdict) == ("leaf_changed", 200 * 256 + 17)


@pytest.mark.parametrize("index", [0, 255, 256, 600, 699])
@pytest.mark.parametrize("with_its_tile", [False, True])
def test_a_changed_leaf_is_named(tmp_path: Path, index: int, with_its_tile: bool) -> None:
    """Also when the tile of level 0 was changed with it: then the tiles above tell which tile."""
    log = Log(leaves_of(700))
    directory = log.write(tmp_path / "export")
    changed = Log([*log.leaves])
    changed.leaves[index] = changed.leaves[index].replace(b"lost", b"sold")
    bundled = Tile(None, index // 256, min(256, 700 - index // 256 * 256))
    first = index // 256 * 256
    directory.write(tile_path(bundled), bundle(changed.leaves[first : first + bundled.width]))
    expected = index
    if with_its_tile:
        hashes = [merkle.leaf_hash(each) for each in changed.leaves[first : first + bundled.width]]
        directory.write(tile_path(Tile(0, bundled.index, bundled.width)), b"".join(hashes))
        expected = first
    reason, named = refused(verify(directory.root, log.trust))
    if with_its_tile and bundled.width < 256:
        # The edge of the tree is what the signed root is compared with, so nothing vouches for it.
        assert (reason, named) == ("root_differs", None)
    else:
        assert (reason, named) == ("leaf_changed", expected)


def test_a_log_rewritten_throughout_is_another_tree(tmp_path: Path) -> None:
    log = Log(leaves_of(300))
    directory = log.write(tmp_path / "export")
    signed = directory.read(CHECKPOINT) or b""
    forged = Log([each.replace(b'lost 7"', b'sold 7"') for each in log.leaves])
    forged.write(directory.root)
    directory.write(CHECKPOINT, signed)
    assert refused(verify(directory.root, log.trust)) == ("root_differs", None)


def test_another_key_and_another_origin_are_refused(tmp_path: Path) -> None:
    log = Log(leaves_of(10))
    log.write(tmp_path / "export")
    other = Log(log.leaves, seed=b"\2" * 32)
    assert refused(verify(tmp_path / "export", other.trust)) == ("signature_invalid", None)
    elsewhere = Trust(log_key=VerifierKey("link.example/other", log.key.public_key))
    assert refused(verify(tmp_path / "export", elsewhere)) == ("signature_invalid", None)


def test_without_a_checkpoint_or_without_a_directory(tmp_path: Path) -> None:
    log = Log(leaves_of(3))
    directory = log.write(tmp_path / "export")
    (directory.root / CHECKPOINT).write_bytes(b"\xff not a note")
    assert refused(verify(directory.root, log.trust)) == ("checkpoint_malformed", None)
    (directory.root / CHECKPOINT).unlink()
    assert refused(verify(directory.root, log.trust)) == ("checkpoint_missing", None)
    with pytest.raises(NotAnExport):
        verify(tmp_path / "nowhere", log.trust)


@pytest.mark.parametrize("size", [3, 700])
def test_missing_and_surplus_leaves_are_named(tmp_path: Path, size: int) -> None:
    log = Log(leaves_of(size))
    directory = log.write(tmp_path / "export")
    last = Tile(None, (size - 1) // 256, (size - 1) % 256 + 1)
    first = last.index * 256
    whole = directory.read(tile_path(last)) or b""
    directory.write(tile_path(last), bundle(log.leaves[first : size - 1]))
    assert refused(verify(directory.root, log.trust)) == ("leaf_missing", size - 1)
    directory.write(tile_path(last), whole[:-1])
    assert refused(verify(directory.root, log.trust)) == ("leaf_missing", first)
    directory.write(tile_path(last), whole + bundle([log.leaves[-1]]))
    assert refused(verify(directory.root, log.trust)) == ("leaf_missing", size)
    (directory.root / tile_path(last)).unlink()
    assert refused(verify(directory.root, log.trust)) == ("leaf_missing", first)


def test_tiles_that_are_not_those_of_the_leaves_are_refused(tmp_path: Path) -> None:
    log = Log(leaves_of(700))
    directory = log.write(tmp_path / "export")
    for tile, index in ((Tile(0, 1), 256 + 5), (Tile(0, 2, 188), 512 + 5), (Tile(1, 0, 2), 256)):
        path = tile_path(tile)
        whole = directory.read(path) or b""
        at = 32 * (index % 256 if tile.level == 0 else 1)
        directory.write(path, whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert refused(verify(directory.root, log.trust)) == ("tile_changed", index)
        (directory.root / path).unlink()
        assert verify(directory.root, log.trust).reason == "tile_missing"
        directory.write(path, whole)
    assert verify(directory.root, log.trust).ok


def test_what_lies_beyond_the_checkpoint_is_of_another_moment(tmp_path: Path) -> None:
    """Rolled back to a checkpoint that was once signed, with the files of today."""
    log = Log(leaves_of(700))
    directory = log.write(tmp_path / "export")
    directory.write(CHECKPOINT, log.checkpoint(256).encode())
    assert refused(verify(directory.root, log.trust)) == ("beyond_checkpoint", 256)


def test_an_earlier_checkpoint_must_be_a_prefix(tmp_path: Path) -> None:
    log = Log(leaves_of(700))
    directory = log.write(tmp_path / "export")
    for size in (0, 1, 256, 300, 700):
        directory.write(f"{CHECKPOINTS}/{size}", log.checkpoint(size).encode())
    assert verify(directory.root, log.trust, earlier=[log.checkpoint(511).encode()]).ok
    forked = Log([each.replace(b'lost 7"', b'sold 7"') for each in log.leaves])
    for size, reason in ((5, None), (8, "earlier_checkpoint_differs")):
        verdict = verify(directory.root, log.trust, earlier=[forked.checkpoint(size).encode()])
        assert verdict.reason == reason
    other = Log(log.leaves, seed=b"\2" * 32).checkpoint(5).encode()
    verdict = verify(directory.root, log.trust, earlier=[other])
    assert verdict.reason == "earlier_checkpoint_differs"
    longer = Log(leaves_of(701)).checkpoint().encode()
    verdict = verify(directory.root, log.trust, earlier=[longer])
    assert refused(verdict) == ("rolled_back", 700)


def test_enough_witnesses_must_have_cosigned(tmp_path: Path) -> None:
    log = Log(leaves_of(20))
    directory = log.write(tmp_path / "export")
    witness = NoteSigner(b"\3" * 32)
    key = VerifierKey("witness.example/w", witness.public_key, 0x04)
    trust = Trust(log_key=log.key, witnesses=(key,), witnesses_required=1)
    assert refused(verify(directory.root, trust)) == ("signature_invalid", None)
    note = read_note(log.checkpoint())
    signed = SignedNote(
        note.text, (*note.signatures, cosign(note.text, key, 1_780_000_000, witness.sign))
    )
    directory.write(CHECKPOINT, signed.encode().encode())
    assert verify(directory.root, trust).ok


@pytest.mark.parametrize("planted", ["no event", "another tenant", "out of order"])
def test_signed_leaves_that_are_no_events_of_this_log_in_order_are_refused(
    tmp_path: Path, planted: str
) -> None:
    """Whoever holds the signing key can sign anything; an auditor still sees what is no log."""
    leaves = leaves_of(600)
    if planted == "no event":
        leaves[300] = b"{}"
    elif planted == "another tenant":
        leaves[300] = leaves[300].replace(b"0198c7a0-9e6c-7b1f", b"0198c7a0-9e6c-7b1e", 1)
    else:
        leaves[299], leaves[300] = leaves[300], leaves[299]
    log = Log(leaves)
    log.write(tmp_path / "export")
    assert refused(verify(tmp_path / "export", log.trust)) == ("leaf_malformed", 300)


def test_every_reason_is_explained() -> None:
    assert all(meaning and meaning == meaning.strip() for meaning in MEANINGS.values())


def test_the_directory_is_not_changed_by_verifying(tmp_path: Path) -> None:
    log = Log(leaves_of(300))
    directory = log.write(tmp_path / "export")
    copy = tmp_path / "copy"
    shutil.copytree(directory.root, copy)
    assert verify(directory.root, log.trust).ok
    files = {path: directory.read(path) for path in directory.below("")}
    assert files == {
        path.relative_to(copy).as_posix(): path.read_bytes()
        for path in copy.rglob("*")
        if path.is_file()
    }
