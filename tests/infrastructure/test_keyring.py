"""One key file for all processes; what it seals opens in its own place only."""

import asyncio
import base64
import os
import stat
import sys
from pathlib import Path

import pytest

from infrastructure.keyring import Keyring, KeyringUnusable

PROCESSES = 6

# Each process says that it is ready, waits for the word, and prints a digest under its key.
_RACER = """
import sys
from pathlib import Path
from infrastructure.keyring import Keyring
print("ready", flush=True)
sys.stdin.readline()
print(Keyring.at(Path(sys.argv[1])).digest("race", "value"), flush=True)
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
    digests = await _race(path)
    assert digests == [Keyring.at(path).digest("race", "value")] * PROCESSES
    assert [file.name for file in path.parent.iterdir()] == ["kek"]


def test_the_key_file_is_its_owners_only(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    Keyring.at(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(base64.b64decode(path.read_bytes())) == 32


def test_a_key_file_that_exists_is_read_and_never_touched(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    path.write_bytes(base64.b64encode(bytes(32)) + b"\n")
    before = (path.stat().st_mtime_ns, path.stat().st_ino, os.stat(tmp_path).st_mtime_ns)
    assert Keyring.at(path).digest("a", "b") == Keyring(bytes(32)).digest("a", "b")
    assert before == (path.stat().st_mtime_ns, path.stat().st_ino, os.stat(tmp_path).st_mtime_ns)


@pytest.mark.parametrize(
    "content", [b"", b"not base64!", base64.b64encode(bytes(31)), base64.b64encode(bytes(33))]
)
def test_a_file_that_is_no_key_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kek"
    path.write_bytes(content)
    with pytest.raises(KeyringUnusable, match="kek is not a key file"):
        Keyring.at(path)


def test_a_key_file_that_cannot_be_made_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(KeyringUnusable, match="kek is not a key file"):
        Keyring.at(tmp_path / "file" / "kek")


def test_what_is_sealed_opens_in_its_place_only() -> None:
    keyring = Keyring(bytes(32))
    sealed = keyring.seal(b"value", "table.column/1")
    assert keyring.open(sealed, "table.column/1") == b"value"
    assert keyring.seal(b"value", "table.column/1") != sealed
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for wrong, place, opener in (
        (sealed, "table.column/2", keyring),
        (sealed, "table.column/1", Keyring(bytes(31) + b"\1")),
        (flipped, "table.column/1", keyring),
        (sealed[:20], "table.column/1", keyring),
        (b"", "table.column/1", keyring),
    ):
        with pytest.raises(KeyringUnusable, match="does not open"):
            opener.open(wrong, place)


def test_digests_differ_by_purpose_and_by_key() -> None:
    keyring = Keyring(bytes(32))
    digest = keyring.digest("otp", "123456")
    assert keyring.matches("otp", "123456", digest)
    assert not keyring.matches("otp", "123457", digest)
    assert not keyring.matches("pairing", "123456", digest)
    assert not keyring.matches("otp", "123456", "\N{SNOWMAN}")
    assert not Keyring(bytes(31) + b"\1").matches("otp", "123456", digest)
    assert len(base64.urlsafe_b64decode(digest + "=")) == 32


def test_no_derived_key_is_the_key_or_another_derived_key() -> None:
    keyring = Keyring(bytes(32))
    keys = {keyring.derive("seal"), keyring.derive("digest:seal"), keyring.derive(""), bytes(32)}
    assert len(keys) == 4
    assert keyring.derive("seal") == Keyring(bytes(32)).derive("seal")
