"""Go's checksum database accepts our log, and nothing that was done to it afterwards."""

import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from domain.transparency.note import COSIGNATURE_V1, SignedNote, VerifierKey, cosign, read_note
from domain.transparency.tiles import bundles_of, tile_path, tiles_of
from infrastructure.transparency.ed25519 import NoteSigner
from tests.infrastructure.event_log.notes import A, B
from tests.infrastructure.transparency.stage import Stage, stage_on

ROOT = Path(__file__).parents[2]
WITNESS = NoteSigner(bytes(range(1, 33)))
WITNESS_KEY = VerifierKey("witness.example/w1", WITNESS.public_key, COSIGNATURE_V1)


@pytest.fixture(scope="module")
def go_verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of examples/foreign_verifier, built. Without Go, tests that ask for it are left
    out (tests/conftest.py)."""
    folder = tmp_path_factory.mktemp("go")
    program = folder / "verify"
    subprocess.run(
        ["go", "build", "-o", str(program), "./examples/foreign_verifier"],
        cwd=ROOT,
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "GO111MODULE": "off",
            "GOPATH": "/usr/share/gocode",
            "GOCACHE": str(folder / "cache"),
            "HOME": str(folder),
        },
        check=True,
        timeout=300,
    )
    return program


@pytest_asyncio.fixture
async def stage(database: str) -> AsyncGenerator[Stage]:
    async with stage_on(database) as stage:
        yield stage


def verify(program: Path, *arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout


async def copy(stage: Stage, folder: Path) -> str:
    """The tenant's log as files, as any client can fetch them; the checkpoint."""
    signed = await stage.reads.checkpoint(A)
    assert signed is not None
    for tile in (*tiles_of(signed.size), *bundles_of(signed.size)):
        data = await stage.reads.tile(A, tile)
        assert data is not None
        path = folder / tile_path(tile)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "checkpoint").write_text(signed.note)
    return signed.note


async def proof_at(stage: Stage, index: int, path: Path) -> Path:
    text = await stage.reads.proof(A, index)
    assert text is not None
    return written(path, text)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


async def test_go_accepts_logs_of_every_kind_of_size_and_their_proofs(
    stage: Stage, go_verifier: Path, tmp_path: Path
) -> None:
    """Partial tiles, tiles full to the brim, two levels; proofs under every earlier checkpoint."""
    proofs: list[Path] = []
    size = 0
    for number, count in enumerate((1, 1, 5, 249, 1, 255, 188)):
        await stage.append(count)
        await stage.append(3, tenant_id=B)
        await stage.sign()
        size += count
        proofs += [
            await proof_at(stage, index, tmp_path / f"{number}-{index}.tlog-proof")
            for index in {0, size // 2, size - 1}
        ]
        folder = tmp_path / f"copy{number}"
        folder.mkdir()
        await copy(stage, folder)
        told = verify(go_verifier, f"-key={stage.key().vkey()}", folder, *proofs)
        assert told[0] == 0, told
        assert told[1].startswith(f"ok: {size} entries under ")


async def test_go_accepts_a_cosigned_checkpoint(
    stage: Stage, go_verifier: Path, tmp_path: Path
) -> None:
    await stage.append(3)
    await stage.sign()
    note = read_note(await copy(stage, tmp_path))
    keys = (f"-key={stage.key().vkey()}", f"-key={WITNESS_KEY.vkey()}")
    assert verify(go_verifier, *keys, tmp_path)[0] == 1
    line = cosign(note.text, WITNESS_KEY, 1_700_000_000, WITNESS.sign)
    (tmp_path / "checkpoint").write_text(SignedNote(note.text, (*note.signatures, line)).encode())
    assert verify(go_verifier, *keys, tmp_path)[0] == 0
    later = cosign(note.text + "more\n", WITNESS_KEY, 1_700_000_000, WITNESS.sign)
    (tmp_path / "checkpoint").write_text(SignedNote(note.text, (*note.signatures, later)).encode())
    assert verify(go_verifier, *keys, tmp_path)[0] == 1


async def test_go_refuses_what_was_tampered_with(
    stage: Stage, go_verifier: Path, tmp_path: Path
) -> None:
    await stage.append(300)
    await stage.sign()
    folder = tmp_path / "copy"
    folder.mkdir()
    await copy(stage, folder)
    proof = await proof_at(stage, 280, tmp_path / "280.tlog-proof")
    key = f"-key={stage.key().vkey()}"
    assert verify(go_verifier, key, folder, proof)[0] == 0
    tiles = folder / "tile"
    first_hash = (tiles / "0/000").read_bytes()[:32]
    spoilt: list[tuple[Path, bytes, bytes]] = [
        (tiles / "entries/001.p/44", b"note 270", b"note 999"),
        (tiles / "entries/000", b"}}}", b"}}"),
        (tiles / "0/000", first_hash, bytes(32)),
        (tiles / "1/000.p/1", (tiles / "1/000.p/1").read_bytes(), bytes(32)),
        (folder / "checkpoint", b"\n300\n", b"\n299\n"),
        (proof, b"index 280", b"index 281"),
    ]
    for path, old, new in spoilt:
        whole = path.read_bytes()
        assert old in whole
        path.write_bytes(whole.replace(old, new, 1))
        code, said = verify(go_verifier, key, folder, proof)
        assert (code, said[:8]) == (1, "refused:"), path
        path.write_bytes(whole)
    stranger = VerifierKey(stage.key().name, WITNESS.public_key)
    assert verify(go_verifier, f"-key={stranger.vkey()}", folder)[0] == 1
    assert verify(go_verifier, key, folder, proof)[0] == 0
