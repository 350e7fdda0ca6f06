"""The auditor's commands: what they print, and what their exit codes mean."""

import json
from pathlib import Path
from typing import Any

import pytest

from domain.transparency.proof import check_proof, read_proof
from domain.transparency.tiles import Tile, tile_path
from infrastructure.log_export.directory import CHECKPOINT, ExportDirectory
from infrastructure.transparency.ed25519 import verify
from interfaces.cli.commands import commands
from interfaces.cli.exit_codes import exit_code
from tests.infrastructure.log_export.stage import Log, event, leaves_of


def ran(*arguments: object) -> int:
    """The exit code, as a shell would see it."""
    given = [str(argument) for argument in arguments]
    try:
        return exit_code(lambda: commands(given, standalone_mode=False))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1


@pytest.fixture
def log() -> Log:
    return Log(leaves_of(300))


@pytest.fixture
def export(log: Log, tmp_path: Path) -> ExportDirectory:
    return log.write(tmp_path / "export")


@pytest.fixture
def key(log: Log, tmp_path: Path) -> Path:
    path = tmp_path / "log.vkey"
    path.write_text(log.key.vkey() + "\n")
    return path


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_verify_says_in_one_object_and_its_exit_code_what_it_found(
    export: ExportDirectory, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran("log", "verify", export.root, "--key", key, "--json") == 0
    good = told(capsys)
    assert list(good) == ["ok", "size", "root", "first_bad_index", "reason"]
    assert (good["ok"], good["size"], good["first_bad_index"], good["reason"]) == (
        True,
        300,
        None,
        None,
    )
    path = tile_path(Tile(None, 1, 44))
    data = export.read(path) or b""
    export.write(path, data.replace(b"lost 290", b"sold 290"))
    assert ran("log", "verify", export.root, "--key", key, "--json") == 1
    bad = told(capsys)
    assert (bad["ok"], bad["first_bad_index"], bad["reason"]) == (False, 290, "leaf_changed")
    assert ran("log", "verify", export.root, "--key", key) == 1
    said = capsys.readouterr()
    assert "290" in said.out
    assert "not the one that was signed" in said.err


def test_what_cannot_be_read_at_all_is_no_verdict(
    export: ExportDirectory, key: Path, tmp_path: Path
) -> None:
    assert ran("log", "verify", tmp_path / "nowhere", "--key", key) == 2
    assert ran("log", "verify", export.root, "--key", tmp_path / "nokey") == 2
    key.write_text("not a key")
    assert ran("log", "verify", export.root, "--key", key) == 2
    assert ran("log", "verify", export.root) == 2


def test_a_checkpoint_that_was_kept_convicts_a_rolled_back_log(
    log: Log, export: ExportDirectory, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    kept.write_text(Log(leaves_of(400)).checkpoint())
    assert ran("log", "verify", export.root, "--key", key, "--since", kept, "--json") == 1
    assert told(capsys)["reason"] == "rolled_back"
    kept.write_text(log.checkpoint(200))
    assert ran("log", "verify", export.root, "--key", key, "--since", kept) == 0


@pytest.mark.parametrize("by", ["position", "stream"])
def test_prove_prints_a_proof_that_convinces_without_the_export(
    log: Log,
    export: ExportDirectory,
    key: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    by: str,
) -> None:
    wanted = event(270)
    name = wanted.position if by == "position" else f"{wanted.stream_id}:{wanted.stream_version}"
    leaf = tmp_path / "leaf.json"
    assert ran("log", "prove", export.root, name, "--key", key, "--leaf", leaf) == 0
    proof = read_proof(capsys.readouterr().out)
    assert leaf.read_bytes() == log.leaves[270]
    assert check_proof(proof, leaf.read_bytes(), log.key, verify).size == 300
    assert ran("log", "prove", export.root, name, "--key", key, "--json") == 0
    assert told(capsys)["index"] == 270


@pytest.mark.parametrize("name", ["8", "0", "999999", "what", f"{event(3).stream_id}:9"])
def test_an_event_that_there_is_not_is_refused(
    export: ExportDirectory, key: Path, name: str
) -> None:
    """Position 8 stands between two leaves: it is another tenant's."""
    assert ran("log", "prove", export.root, name, "--key", key) == 1


def test_what_is_not_whole_proves_nothing(export: ExportDirectory, key: Path) -> None:
    path = tile_path(Tile(0, 1, 44))
    data = export.read(path) or b""
    export.write(path, data[:32] + bytes(32) + data[64:])
    assert ran("log", "prove", export.root, str(event(270).position), "--key", key) == 2
    (export.root / path).unlink()
    assert ran("log", "prove", export.root, str(event(270).position), "--key", key) == 2
    (export.root / CHECKPOINT).unlink()
    assert ran("log", "prove", export.root, str(event(270).position), "--key", key) == 2


def test_what_is_not_verified_is_not_replayed(
    export: ExportDirectory, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tile_path(Tile(None, 1, 44))
    export.write(path, (export.read(path) or b"").replace(b"lost 290", b"sold 290"))
    assert ran("log", "replay", export.root, "--key", key, "--json") == 1
    assert told(capsys)["first_bad_index"] == 290


def test_a_replay_over_streams_that_make_no_sense_says_so(
    export: ExportDirectory, key: Path, database: str
) -> None:
    """The leaves of this stage revoke devices that nobody registered."""
    arguments = ("log", "replay", export.root, "--key", key, "--database", database)
    assert ran(*arguments) == 2
