"""Programs that a benchmark starts: each says that it is ready, and each is stopped at the end."""

import os
import random
import re
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import msgspec

ROOT: Final = Path(__file__).parents[1]
STOP_S: Final = 20


class ProgramFailed(Exception):
    """A program of the benchmark ended, or said something else than agreed."""


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A program that runs, and the JSON object by which it said so."""

    pid: int
    told: Mapping[str, Any]


@contextmanager
def program(*arguments: str, environment: Mapping[str, str] | None = None) -> Generator[Program]:
    """`python -m ARGUMENTS` for as long as the block runs; ready when it has printed a line.

    Raises ProgramFailed when it ends before that.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=_environment(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            if not said:
                raise ProgramFailed(f"{arguments[0]} ended with {process.wait()} before it began")
            yield Program(pid=process.pid, told=msgspec.json.decode(said, type=dict[str, Any]))
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def answer_of(
    *arguments: str, given: bytes = b"", environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run `python -m ARGUMENTS` to its end and read the one JSON object on its last line.

    Raises ProgramFailed when it fails.
    """
    finished = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=_environment(environment),
        input=given,
        stdout=subprocess.PIPE,
        check=False,
    )
    if finished.returncode != 0:
        raise ProgramFailed(f"{' '.join(arguments[:3])} ended with {finished.returncode}")
    return msgspec.json.decode(finished.stdout.splitlines()[-1], type=dict[str, Any])


def free_port() -> int:
    """A loopback port that nobody listens on now, below those that the system hands out."""
    for _ in range(200):
        port = random.randrange(20_000, 32_768)  # noqa: S311 (a port, not a secret)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ProgramFailed("found no free port between 20000 and 32767")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all its threads, from /proc; 0 where there is none."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def resident_mb(pid: int) -> float:
    """What a process has in memory, from /proc; 0 where there is none."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^VmRSS:\s+(\d+) kB$", text, re.MULTILINE)
    return 0.0 if found is None else round(int(found[1]) / 1024, 1)


def children(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        fields = _stat(int(entry.name))
        if fields and int(fields[1]) == pid:
            found.append(int(entry.name))
    return found


def _stat(pid: int) -> Sequence[str]:
    """/proc/<pid>/stat from its third field on: the name before it may hold anything."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ()
    return text.rpartition(")")[2].split()


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    """Ours, without any `LINK_*` that would tell the platform something else than we do."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LINK_")}
    return {**kept, **cast("Mapping[str, str]", more or {})}
