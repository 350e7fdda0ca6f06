"""`make demo` does what it says, its suggestions can be pasted, and a killed one is cleaned up."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from examples.demo.children import (
    Child,
    ChildFailed,
    Children,
    FolderInUse,
    Recorded,
    identity,
    stop_orphans,
)
from examples.demo.ports import choose
from examples.demo.screen import Screen
from examples.demo.step import Check, Step, failed
from infrastructure.embedded.processes import await_end, is_running

ROOT: Final = Path(__file__).parents[2]

PROMISED: Final = {
    "enrol_aisha": ("enrolled", None),
    "enrol_omar": ("enrolled", None),
    "enrol_lena": ("enrolled", None),
    "allow_at_a_till": ("allow", None),
    "deny_for_balance": ("deny", "insufficient_balance"),
    "unknown_palm": ("not_recognized", "no_candidate"),
    "product_hangs": ("deny", "authorize_timeout"),
    "gate_opens": ("allow", None),
    "retry_charges_once": ("allow", None),
    "revoked_device_refused": ("refused", "device_revoked"),
    "foreign_certificate_refused": ("refused", "unknown_ca"),
}


@pytest.fixture
def folder() -> Generator[Path]:
    """A folder that PostgreSQL's own account can get to, with a short path for its socket."""
    made = Path(tempfile.mkdtemp(prefix="link-demo-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@contextmanager
def demo(folder: Path, *options: str) -> Generator[subprocess.Popen[str]]:
    """A demo on ports of its own, ended in order when the block ends, however that ends."""
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "examples.demo", "--json", "--any-ports", *options),
            f"--folder={folder}",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def assert_as_promised(said: dict[str, Any]) -> None:
    told = {step["name"]: (step["decision"], step["reason"]) for step in said["steps"]}
    assert told == PROMISED, said
    assert [step["failures"] for step in said["steps"]] == [[]] * len(PROMISED)
    assert said["ok"] is True
    assert all(step["ok"] and step["milliseconds"] > 0 for step in said["steps"])
    events = {step["name"]: step["events"] for step in said["steps"]}
    assert events["allow_at_a_till"][-2:] == ["transaction.allowed", "transaction.relayed"]
    assert "transaction.failed_closed" in events["product_hangs"]
    assert events["revoked_device_refused"][-1] == "device.revoked"


def paste(suggestion: dict[str, Any]) -> None:
    """Do as a person does: paste the command into a shell at the root of the checkout."""
    command = suggestion["command"].replace(".venv/bin/python", sys.executable)
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode != 0) is suggestion["refused"], f"{suggestion}\n{done}"
    for word in ("urn:link-identity:problem:", '"decision":"deny"', '"decision":"not_recognized"'):
        assert word not in done.stdout, f"{suggestion}\n{done.stdout}"


def test_the_demo_does_what_it_says_and_another_one_follows_a_kill(folder: Path) -> None:
    """The planted fault is the kill: nothing is left running, and the next demo works.

    With `stop_orphans` taken out of `Children.__aenter__`, the first platform was seen to live
    on and hold its ports while the second demo ran.
    """
    with demo(folder) as first:
        assert first.stdout is not None
        assert first.stderr is not None
        line = first.stdout.readline()
        assert line, first.stderr.read()
        said = json.loads(line)
        assert_as_promised(said)
        for suggestion in said["try"]:
            paste(suggestion)
        left = msgspec.json.decode((folder / "children.json").read_bytes(), type=list[Recorded])
        first.kill()
    assert {child.name for child in left} == {"platform", "palm-server", "wallet", "access"}
    assert all(is_running(child.pid) for child in left)

    with demo(folder, "--once") as second:
        out, err = second.communicate(timeout=180)
    assert second.returncode == 0, err
    assert out.count("\n") == 1, "one JSON object on stdout and nothing else"
    assert_as_promised(json.loads(out))
    assert not any(identity(child.pid) == child.identity for child in left)
    assert not (folder / "children.json").exists()
    postmaster = folder / "platform" / "postgres" / "data" / "postmaster.pid"
    assert not postmaster.exists(), "PostgreSQL was stopped, not left behind"


def test_a_demo_that_cannot_be_set_up_says_why_and_leaves_nothing_running(folder: Path) -> None:
    (folder / "wallet.sqlite").write_bytes(b"this is not a database" * 100)
    with demo(folder, "--once") as process:
        out, err = process.communicate(timeout=180)
    assert (process.returncode, out) == (2, "")
    assert "wallet ended" in err
    assert "file is not a database" in err
    assert not (folder / "children.json").exists()


def step(*checks: Check) -> Step:
    return Step(
        name="a_step", title="A step", story="", decision="allow", reason=None,
        milliseconds=1.0, checks=checks,
    )  # fmt: skip


def test_a_step_that_did_not_come_out_as_said_is_named_with_what_was_found(
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong = step(Check("decision", "allow", "deny"), Check("charges", 1, 1))
    assert not wrong.ok
    assert wrong.to_json()["failures"] == [
        {"what": "decision", "expected": "allow", "found": "deny"}
    ]
    Screen(stderr=True).verdict([step(Check("charges", 1, 1)), wrong], 1.0)
    said = capsys.readouterr().err
    assert "1 of 2 steps did not come out as said" in said
    assert "a_step" in said
    assert "decision: expected 'allow', found 'deny'" in said


def test_a_scene_that_breaks_is_a_step_that_failed() -> None:
    broken = failed("a_step", "A step", "", TimeoutError("no answer"))
    assert not broken.ok
    assert broken.to_json()["failures"][0]["found"] == "TimeoutError: no answer"


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


async def sleeper(children: Children) -> Child:
    """A child that lives until it is ended: a web server on a port of the system's choice."""
    return await children.start(
        "sleeper", "http.server", "--bind", "127.0.0.1", "0", env=environment()
    )


async def test_children_end_with_their_demo(tmp_path: Path) -> None:
    async with Children(tmp_path) as children:
        child = await sleeper(children)
        assert is_running(child.process.pid)
    assert child.process.returncode is not None
    assert not (tmp_path / "children.json").exists()


async def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    async with Children(tmp_path):
        with pytest.raises(FolderInUse):
            async with Children(tmp_path):
                pass
    async with Children(tmp_path):
        pass


async def test_a_child_that_never_comes_up_is_told_with_its_last_words(tmp_path: Path) -> None:
    async with Children(tmp_path) as children:
        child = await children.start("odd", "no.such.module", env=environment(), piped=True)
        with pytest.raises(ChildFailed, match="No module named 'no'"):
            await child.first_line(30)


@pytest.mark.parametrize("reused", [False, True])
def test_only_what_is_still_the_same_process_is_ended(tmp_path: Path, reused: bool) -> None:
    """`reused`: the number now belongs to somebody else, who must not be touched."""
    program = "import time; print('here', flush=True); time.sleep(600)"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as stranger:
        try:
            assert stranger.stdout is not None
            assert stranger.stdout.readline() == "here\n"
            found = identity(stranger.pid)
            assert found is not None
            other = found.replace("600", "601") if reused else found
            record = tmp_path / "children.json"
            record.write_bytes(msgspec.json.encode([Recorded("wallet", stranger.pid, other)]))
            assert stop_orphans(record) == ([] if reused else ["wallet"])
            assert (stranger.poll() is None) is reused
        finally:
            stranger.kill()
    assert stranger.returncode == (-signal.SIGKILL if reused else -signal.SIGTERM)
    assert await_end(stranger.pid, 1)


def test_a_process_that_is_not_there_has_no_identity() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    assert identity(ended.pid) is None


def test_the_usual_port_is_taken_when_it_is_free_and_another_when_it_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other = choose({"wallet": port, "access": port})
        assert port not in other.values()
        assert len(set(other.values())) == 2
        assert all(each < 32_768 for each in other.values())
    assert choose({"wallet": port})["wallet"] == port
    assert choose({"wallet": port}, prefer_usual=False)["wallet"] != port
