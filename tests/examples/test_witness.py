"""The reference witness: what it cosigns continues what it cosigned, whoever asks and however.

Planted bugs that were seen to be caught: `_continues` without the comparison of sizes, without
`check_consistency`, and `locked` without its transaction.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.transparency.checkpoint import Checkpoint
from domain.transparency.merkle import EMPTY_ROOT, fold, leaf_hash, prove_consistency
from domain.transparency.note import (
    Signature,
    SignedNote,
    VerifierKey,
    cosigned_at,
    read_signatures,
    read_vkey,
    sign_note,
    verify_note,
)
from domain.transparency.submission import Submission
from domain.transparency.tiles import TileHashes, append
from examples.palm_server.serving import serving
from examples.witness.memory import Memory
from examples.witness.server import WitnessServer
from examples.witness.witness import Witness
from infrastructure.transparency.ed25519 import NoteSigner, verify

ROOT = Path(__file__).parents[2]
LOG = NoteSigner(bytes(range(32)))
PLATFORM_KEY = VerifierKey("link.example/platform", LOG.public_key)
ORIGIN = "link.example/tenants/ten_1"
WITNESS_KEY = NoteSigner(bytes(range(1, 33)))
NAME = "witness.example/w1"


def leaves(size: int, world: str = "") -> list[bytes]:
    return [leaf_hash(b"%d%s" % (number, world.encode())) for number in range(size)]


def tree(hashes: list[bytes]) -> TileHashes:
    _, written = append(0, {}, hashes)
    return TileHashes({(tile.level or 0, tile.index): data for tile, data in written})


def note_of(hashes: list[bytes], origin: str = ORIGIN, key: NoteSigner = LOG) -> SignedNote:
    body = Checkpoint(origin=origin, size=len(hashes), root=fold(hashes)).body()
    name = VerifierKey(origin, key.public_key)
    return SignedNote(body, (sign_note(body, name, key.sign),))


def asked(old: int, hashes: list[bytes], origin: str = ORIGIN) -> str:
    """An honest submission: that the tree of these leaves continues its first `old`."""
    proof = prove_consistency(min(old, len(hashes)), len(hashes), tree(hashes)) if old else []
    return Submission(old_size=old, proof=tuple(proof), checkpoint=note_of(hashes, origin)).encode()


@contextmanager
def witness_at(folder: Path) -> Generator[Witness]:
    memory = Memory(folder / "seen.sqlite")
    try:
        yield Witness(NAME, WITNESS_KEY, [PLATFORM_KEY], memory, lambda: 1_700_000_000)
    finally:
        memory.close()


@pytest.fixture
def witness(tmp_path: Path) -> Generator[Witness]:
    with witness_at(tmp_path) as found:
        yield found


def test_a_log_that_only_grows_is_cosigned(witness: Witness) -> None:
    old = 0
    for size in (1, 1, 5, 256, 300, 1000):
        hashes = leaves(size)
        answer = witness.add_checkpoint(asked(old, hashes))
        assert answer.status == 200, answer.body
        note = note_of(hashes)
        (line,) = read_signatures(answer.body)
        verify_note(SignedNote(note.text, (line,)), [witness.verifier_key], verify)
        assert cosigned_at(line) == 1_700_000_000
        old = size


def test_each_log_is_remembered_for_itself(witness: Witness) -> None:
    other = "link.example/tenants/ten_2"
    assert witness.add_checkpoint(asked(0, leaves(5))).status == 200
    assert witness.add_checkpoint(asked(0, leaves(3), other)).status == 200
    assert witness.add_checkpoint(asked(0, leaves(3), "link.example/platform")).status == 200
    assert witness.add_checkpoint(asked(5, leaves(6))).status == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("other.example/tenants/ten_1", 404),
        ("link.example/tenants/", 404),
        ("link.example/tenants/a/b", 404),
        ("link.example", 404),
        ("link.example/elsewhere", 404),
    ],
)
def test_an_unknown_log(witness: Witness, origin: str, status: int) -> None:
    assert witness.add_checkpoint(asked(0, leaves(1), origin)).status == status


def test_a_signature_that_is_none(witness: Witness) -> None:
    stranger = NoteSigner(bytes(32))
    hashes = leaves(2)
    by_another = Submission(old_size=0, proof=(), checkpoint=note_of(hashes, key=stranger)).encode()
    assert witness.add_checkpoint(by_another).status == 403
    note = note_of(hashes)
    forged = SignedNote(note.text, (Signature(ORIGIN, note.signatures[0].key_id, bytes(64)),))
    text = Submission(old_size=0, proof=(), checkpoint=forged).encode()
    assert witness.add_checkpoint(text).status == 403


def test_sizes_that_do_not_meet(witness: Witness) -> None:
    assert witness.add_checkpoint(asked(0, leaves(5))).status == 200
    for old in (0, 4, 6):
        answer = witness.add_checkpoint(asked(old, leaves(8)))
        assert (answer.status, answer.body) == (409, "5\n")
        assert answer.content_type == "text/x.tlog.size"
    larger = Submission(old_size=9, proof=(), checkpoint=note_of(leaves(8))).encode()
    assert witness.add_checkpoint(larger).status == 400
    assert witness.add_checkpoint(asked(5, leaves(8))).status == 200


def test_a_proof_that_is_none(witness: Witness) -> None:
    hashes = leaves(3)
    unasked = Submission(old_size=0, proof=(EMPTY_ROOT,), checkpoint=note_of(hashes)).encode()
    assert witness.add_checkpoint(unasked).status == 422
    assert witness.add_checkpoint(asked(0, hashes)).status == 200
    without = Submission(old_size=3, proof=(), checkpoint=note_of(leaves(7))).encode()
    assert witness.add_checkpoint(without).status == 422
    assert witness.add_checkpoint(asked(3, leaves(7))).status == 200


@pytest.mark.parametrize("text", ["", "old 1", "old 0\n\n", "old 0\n\nwords\n\n— a AAAAAAA=\n"])
def test_what_is_no_submission(witness: Witness, text: str) -> None:
    assert witness.add_checkpoint(text).status == 400


@settings(max_examples=250, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(1, 40), st.sampled_from(["", "fork", "another"])),
        min_size=1,
        max_size=12,
    )
)
def test_it_never_cosigns_two_histories(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str]]
) -> None:
    """Views that share their first leaves are shown by turns; each submission is as good as it
    can be. What was cosigned is one history in the end."""
    cosigned: list[tuple[int, bytes]] = []
    shared = leaves(3)
    with witness_at(tmp_path_factory.mktemp("w")) as witness:
        for size, world in steps:
            hashes = (shared + leaves(40, world))[:size]
            old = cosigned[-1][0] if cosigned else 0
            answer = witness.add_checkpoint(
                asked(old, hashes) if old <= size else asked(size, hashes)
            )
            if answer.status == 200:
                cosigned.append((size, fold(hashes)))
    assert [size for size, _ in cosigned] == sorted(size for size, _ in cosigned)
    histories = [(shared + leaves(40, world)) for world in ("", "fork", "another")]
    assert any(
        all(fold(history[:size]) == root for size, root in cosigned) for history in histories
    )


def test_of_two_that_continue_the_same_only_one_is_cosigned(tmp_path: Path) -> None:
    """The race of tlog-witness, many times over, by two processes' worth of connections."""
    for turn in range(25):
        origin = f"link.example/tenants/ten_{turn}"
        with witness_at(tmp_path) as first:
            assert first.add_checkpoint(asked(0, leaves(2), origin)).status == 200
        assert sorted(race(tmp_path, origin, leaves(2))) == [200, 409]


def race(folder: Path, origin: str, shared: list[bytes]) -> list[int]:
    """Two different continuations of the same leaves, asked for at the same moment."""
    ready = threading.Barrier(2)
    statuses: list[int] = []

    def ask(world: str) -> None:
        with witness_at(folder) as witness:
            text = asked(len(shared), shared + leaves(1, world), origin)
            ready.wait()
            statuses.append(witness.add_checkpoint(text).status)

    threads = [threading.Thread(target=ask, args=(world,)) for world in ("one", "other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


@contextmanager
def running(folder: Path) -> Generator[tuple[subprocess.Popen[bytes], str, VerifierKey]]:
    """The witness as a process of its own: its URL and its key, as it prints them."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "examples.witness", "--port", "0", "--data", str(folder)),
            *("--log", PLATFORM_KEY.vkey()),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        vkey, url = process.stdout.readline().decode().split()
        yield process, url, read_vkey(vkey)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_what_was_cosigned_before_a_kill_is_known_after_it(tmp_path: Path) -> None:
    """Killed after each answer, without warning; then shown a fork and a roll-back."""
    old = 0
    keys: set[str] = set()
    for size in (4, 9, 12):
        with running(tmp_path) as (process, url, key):
            keys.add(key.vkey())
            answer = httpx.post(
                f"{url}/add-checkpoint", content=asked(old, leaves(size)), timeout=30
            )
            assert answer.status_code == 200, answer.text
            os.kill(process.pid, signal.SIGKILL)
        with running(tmp_path) as (_, url, _):
            for content, status in (
                (asked(0, leaves(size, "fork")), 409),
                (asked(size, leaves(size)[:-1] + leaves(5, "fork")), 422),
                (asked(size - 1, leaves(size - 1)), 409),
            ):
                answer = httpx.post(f"{url}/add-checkpoint", content=content, timeout=30)
                assert answer.status_code == status, answer.text
        old = size
    assert len(keys) == 1
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0


async def test_over_http(witness: Witness) -> None:
    async with serving(WitnessServer(witness)) as url, httpx.AsyncClient(timeout=30) as client:
        answer = await client.post(f"{url}/add-checkpoint", content=asked(0, leaves(2)))
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        behind = await client.post(f"{url}/add-checkpoint", content=asked(0, leaves(3)))
        assert (behind.status_code, behind.text) == (409, "2\n")
        assert behind.headers["content-type"] == "text/x.tlog.size"
        for method, path, content, status in (
            ("GET", "/add-checkpoint", b"", 405),
            ("POST", "/checkpoint", b"", 404),
            ("POST", "/add-checkpoint", b"\xff", 400),
            ("POST", "/add-checkpoint", b"x" * 70_000, 413),
        ):
            refused = await client.request(method, f"{url}{path}", content=content)
            assert refused.status_code == status
