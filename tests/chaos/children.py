"""Processes that the harness starts: each says when it is ready, and none outlives the harness.

A child of ours ends when its standard input ends, which the kernel sees to even when the harness
itself is killed. Orders and answers are lines of JSON.
"""

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

ROOT: Final = Path(__file__).parents[2]
STOP_S: Final = 30
HEAR_S: Final = 900
"""The longest answer is the last of the verifier, which replays the whole log."""

REASONS: Final = 2000
"""How many bytes of what a child wrote on standard error are worth repeating."""


class ChildFailed(Exception):
    """A process of the harness ended, or said something else than agreed."""


class Child:
    """`python -m MODULE ARGUMENTS`, with its standard error in `log`."""

    def __init__(
        self,
        module: str,
        *arguments: str,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._module = module
        self._log = log
        clean = {name: value for name, value in os.environ.items() if name[:5] != "LINK_"}
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                env={**clean, **(environment or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def hear(self) -> Mapping[str, Any]:
        """The next line that it says. Raises ChildFailed when it ends or hangs instead."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], HEAR_S)[0]:
            raise ChildFailed(f"{self._module} says nothing: {self.reasons()}")
        said = self._process.stdout.readline()
        if not said:
            raise ChildFailed(f"{self._module} ended with {self._process.wait()}: {self.reasons()}")
        return msgspec.json.decode(said, type=dict[str, Any])

    def order(self, **order: Any) -> None:
        """Tell it something."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.flush()

    def ask(self, **order: Any) -> Mapping[str, Any]:
        """Tell it something and hear what it answers."""
        self.order(**order)
        return self.hear()

    def freeze(self) -> None:
        """It stands still, as a virtual machine that is moved; `thaw` lets it go on."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._close_pipes()

    def stop(self) -> None:
        """End its input and ask it to end; kill it when it will not."""
        if self.alive:
            self._close_pipes()
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        self._close_pipes()

    def end(self) -> int:
        """Wait until it ends by itself; its exit code."""
        code = self._process.wait(STOP_S * 2)
        self._close_pipes()
        return code

    def reasons(self) -> str:
        """The end of what it wrote on standard error."""
        return self._log.read_bytes()[-REASONS:].decode(errors="replace")

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()


def tell(said: object) -> None:
    """One line of JSON to the harness."""
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()


async def stdin_lines() -> asyncio.StreamReader:
    """This process's standard input, as a stream."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    return reader


async def stdin_closed() -> None:
    """Return when the harness is done with this process, or is no more."""
    await (await stdin_lines()).read()
