"""The servers of the demo as child processes: started, recorded, stopped, found after a crash.

Every child stands in `children.json` with its process id and what identifies it (when it began,
and its command line). A demo that was killed leaves its children behind; the next one finds them
there, makes sure that they still are what they were, and stops them. `flock` on `demo.lock` keeps
two demos out of one folder.
"""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import msgspec

from infrastructure.embedded.processes import await_end

ROOT: Final = Path(__file__).resolve().parents[2]
TERM_S: Final = 20.0
KILL_S: Final = 5.0
_LINES_SHOWN: Final = 12


class FolderInUse(Exception):
    """Another demo runs in this folder."""


class ChildFailed(Exception):
    """A server ended, or never said that it is up; with the last lines of what it said."""


class Recorded(msgspec.Struct, frozen=True):
    """A child as the next demo finds it."""

    name: str
    pid: int
    identity: str


class Child:
    """One running server. What it prints goes to `log`, except for a stdout that is piped."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    def failure(self, what: str) -> ChildFailed:
        said = self.log.read_text(errors="replace").splitlines()[-_LINES_SHOWN:]
        return ChildFailed("\n".join([f"{self.name} {what}; {self.log} ends with", *said]))

    async def first_line(self, seconds: float) -> str:
        """The first line on a piped stdout. Raises ChildFailed when it ends without one."""
        stdout = self.process.stdout
        assert stdout is not None, "started with piped=True"
        try:
            async with asyncio.timeout(seconds):
                line = await stdout.readline()
        except TimeoutError as error:
            raise self.failure(f"was not up after {seconds:.0f} s") from error
        if not line:
            raise self.failure("did not start")
        return line.decode()


class Children:
    """All servers of one demo. As an async context manager it stops them, the last one first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[Child] = []
        self._lock: IO[str] | None = None

    async def __aenter__(self) -> Self:
        """Take the folder and stop what an earlier demo left behind. Raises FolderInUse."""
        self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._lock = (self._folder / "demo.lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise FolderInUse(f"another demo runs in {self._folder}; stop it first") from error
        await asyncio.to_thread(stop_orphans, self._record)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child in reversed(self._running):
            await _stop(child)
        self._running.clear()
        self._record.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()

    @property
    def _record(self) -> Path:
        return self._folder / "children.json"

    async def start(
        self, name: str, *arguments: str, env: Mapping[str, str], piped: bool = False
    ) -> Child:
        """Start `python -m arguments…` in a session of its own.

        Ctrl-C at the terminal reaches us and not the children, so that we end them in order.
        """
        log = self._folder / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("wb") as said:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *arguments,
                cwd=ROOT,
                env=dict(env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if piped else said,
                stderr=said,
                start_new_session=True,
            )
        child = Child(name, process, log)
        self._running.append(child)
        # For a moment after exec a process has no command line yet.
        while identity(process.pid) is None and process.returncode is None:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        self._write_down()
        return child

    def _write_down(self) -> None:
        alive = [
            Recorded(child.name, child.process.pid, found)
            for child in self._running
            if (found := identity(child.process.pid)) is not None
        ]
        beside = self._record.with_suffix(".new")
        beside.write_bytes(msgspec.json.encode(alive))
        beside.replace(self._record)


async def _stop(child: Child) -> None:
    if child.process.returncode is not None:
        return
    child.process.terminate()
    try:
        async with asyncio.timeout(TERM_S):
            await child.process.wait()
    except TimeoutError:
        child.process.kill()
        await child.process.wait()


def stop_orphans(record: Path) -> list[str]:
    """End what is recorded and still is what it was; return the names of what was ended."""
    if not record.exists():
        return []
    left = [
        orphan
        for orphan in msgspec.json.decode(record.read_bytes(), type=list[Recorded])
        if identity(orphan.pid) == orphan.identity
    ]
    for orphan in left:
        _signal(orphan, signal.SIGTERM)
    for orphan in left:
        if not await_end(orphan.pid, TERM_S):
            _signal(orphan, signal.SIGKILL)
            await_end(orphan.pid, KILL_S)
    record.unlink()
    return [orphan.name for orphan in left]


def _signal(orphan: Recorded, number: signal.Signals) -> None:
    if identity(orphan.pid) == orphan.identity:
        os.kill(orphan.pid, number)


def identity(pid: int) -> str | None:
    """When a process began and its command line; None when it is not there any more.

    A process id is used again some day; the two together are not.
    """
    folder = Path(f"/proc/{pid}")
    if not Path("/proc/self/stat").exists():
        asked = ["/bin/ps", "-ww", "-o", "lstart=,command=", "-p", str(pid)]
        told = subprocess.run(asked, capture_output=True, text=True, check=False)
        return told.stdout.strip() or None
    try:
        began = (folder / "stat").read_text().rpartition(")")[2].split()[19]
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # A process that has ended and waits to be reaped has no command line left.
    return f"{began} {command.strip()}" if command else None
