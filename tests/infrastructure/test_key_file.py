"""One key file for all processes; a key that is not in it opens nothing."""

import asyncio
import base64
import os
import stat
import sys
from pathlib import Path

import pytest

from infrastructure.keys.key_file import KeyFile, make_key_file
from infrastructure.keys.keyring import KeyringUnusable

PROCESSES = 6

# Each process says that it is ready, waits for the word, and prints a digest under its key.
_RACER = """
import sys
from pathlib import Path
from infrastructure.keys.key_file import KeyFile
print("ready", flush=True)
sys.stdin.readline()
print(*KeyFile(Path(sys.argv[1])).ids(), flush=True)
"""


async def _race(path: Path) -> list[str]:
    racers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _RACER, str(path)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(PROCESSES)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert await racer.stdout.readline() == b"ready\n"
    answers = await asyncio.gather(*(racer.communicate(b"go\n") for racer in racers))
    return [out.decode().strip() for out, _ in answers]


async def test_processes_that_make_the_key_file_at_once_agree_on_one_key(tmp_path: Path) -> None:
    """Seen to fail when the file is written in place instead of linked."""
    path = tmp_path / "keys" / "kek"
    answers = await _race(path)
    assert answers == [*KeyFile(path).ids()] * PROCESSES
    assert [file.name for file in path.parent.iterdir()] == ["kek"]


def test_the_key_file_is_its_owners_only(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    KeyFile(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(base64.b64decode(path.read_bytes())) == 32


def test_a_key_file_that_exists_is_read_and_never_touched(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    path.write_bytes(base64.b64encode(bytes(32)) + b"\n")
    before = (path.stat().st_mtime_ns, path.stat().st_ino, os.stat(tmp_path).st_mtime_ns)
    assert KeyFile(path).first() == bytes(32)
    assert before == (path.stat().st_mtime_ns, path.stat().st_ino, os.stat(tmp_path).st_mtime_ns)


@pytest.mark.parametrize(
    "content", [b"", b"not base64!", base64.b64encode(bytes(31)), base64.b64encode(bytes(33))]
)
def test_a_file_that_is_no_key_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kek"
    path.write_bytes(content)
    with pytest.raises(KeyringUnusable, match="kek is not a key file"):
        KeyFile(path)


def test_a_key_file_that_cannot_be_made_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(KeyringUnusable, match="kek is not a key file"):
        KeyFile(tmp_path / "file" / "kek")


def test_a_file_that_was_named_and_is_not_there_is_refused_and_not_made(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    with pytest.raises(KeyringUnusable, match="kek is not there: give the key file"):
        KeyFile(path, make=False)
    assert not path.exists()
    assert make_key_file(path) is True
    held = KeyFile(path, make=False).ids()
    assert make_key_file(path) is False
    assert KeyFile(path, make=False).ids() == held


def test_what_is_wrapped_opens_under_its_key_in_its_place_only(tmp_path: Path) -> None:
    held = KeyFile(tmp_path / "kek")
    (key_id,) = held.ids()
    wrapped = held.wrap(key_id, b"key", "place/1")
    assert held.unwrap(key_id, wrapped, "place/1") == b"key"
    other = KeyFile(tmp_path / "other")
    for keeper, its_id, sealed, place in (
        (held, key_id, wrapped, "place/2"),
        (held, key_id, wrapped[:-1] + bytes([wrapped[-1] ^ 1]), "place/1"),
        (held, key_id, b"", "place/1"),
        (other, other.ids()[0], wrapped, "place/1"),
        (other, key_id, wrapped, "place/1"),
    ):
        with pytest.raises(KeyringUnusable):
            keeper.unwrap(its_id, sealed, place)


def test_a_key_is_added_in_front_and_the_old_one_opens_until_it_is_destroyed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "kek"
    rotating, elsewhere = KeyFile(path), KeyFile(path)
    (old,) = rotating.ids()
    wrapped = rotating.wrap(old, b"key", "place")
    new = rotating.add()
    assert rotating.ids() == (new, old)
    assert elsewhere.ids() == (old,)
    elsewhere.refresh()
    assert elsewhere.ids() == (new, old)
    assert elsewhere.unwrap(old, wrapped, "place") == b"key"
    rotating.destroy(old)
    assert KeyFile(path).ids() == (new,)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["kek"]
    with pytest.raises(KeyringUnusable, match=f"does not hold the key-encryption key {old}"):
        rotating.unwrap(old, wrapped, "place")


def test_a_file_that_cannot_be_replaced_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = KeyFile(tmp_path / "kek")

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(KeyringUnusable, match="kek cannot be written"):
        held.add()
    assert len(KeyFile(tmp_path / "kek").ids()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["kek"]
