"""Processes that use an embedded server, as root and as an ordinary user."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from infrastructure.embedded.account import Account, server_account
from infrastructure.embedded.installation import packaged_postgres, reachable_postgres
from infrastructure.embedded.redis import redis_program
from tests.infrastructure.embedded.server_user import Order

NOBODY = 65534
MODULE = "tests.infrastructure.embedded.server_user"
ORDINARY_USERS: list[int | None] = [None] if os.geteuid() else [None, NOBODY]
"""The user ids that tests run a process as; None is our own, be it root or not."""


class ServerUser:
    """A process that runs `server_user`; `connect` is what it said once the server answered."""

    def __init__(self, order: Order) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", MODULE, json.dumps(msgspec.to_builtins(order))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )

    def started(self) -> str:
        """Wait for the server; the address to connect to."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.failure()
        connect: str = json.loads(line)["connect"]
        return connect

    def stop(self) -> None:
        """Have it end cleanly."""
        _, errors = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, errors

    def failure(self) -> str:
        """Wait for it to end by itself; what it wrote about why."""
        _, errors = self.process.communicate(timeout=60)
        assert self.process.returncode != 0
        return errors

    def kill(self) -> None:
        """End it as a power cut would, from its own point of view."""
        self.process.kill()
        self.process.communicate(timeout=60)


class Place:
    """A data folder for one test, and the user id that the processes in it run as."""

    def __init__(self, root: Path, uid: int | None, programs: dict[str, Path]) -> None:
        self.data_dir = root / "data"
        self.data_dir.mkdir(mode=0o711)
        self._state_root = root / "state"
        self._uid = uid
        self.runs_as_root = os.geteuid() == 0 and uid is None
        self._programs = programs
        self._users: list[ServerUser] = []
        if uid is not None:
            os.chown(self.data_dir, uid, uid)

    def user(self, server: Literal["postgres", "redis"]) -> ServerUser:
        """Start a process that uses the server in this folder."""
        order = Order(
            server=server,
            data_dir=str(self.data_dir),
            state_root=str(self._state_root),
            program=str(self._programs[server]),
            uid=self._uid,
        )
        user = ServerUser(order)
        self._users.append(user)
        return user

    def close(self) -> None:
        """End the processes that are left, and with the last one the server."""
        for user in self._users:
            if user.process.poll() is None:
                user.stop()


@pytest.fixture(scope="session")
def programs() -> Generator[dict[str, Path]]:
    """The servers' programs, where an ordinary user can get to them."""
    store = Path(tempfile.mkdtemp(prefix="link-programs-"))
    store.chmod(0o755)
    account = Account(name="nobody", uid=NOBODY, gid=NOBODY, switching=False)
    if os.geteuid():
        account = server_account(store / "none")
    programs = {"postgres": reachable_postgres(packaged_postgres(), account, store)}
    redis = redis_program()
    if redis is not None:
        programs["redis"] = Path(shutil.copy(redis, store / "redis-server"))
    yield programs
    shutil.rmtree(store)


@pytest.fixture
def directory() -> Generator[Path]:
    """A folder with a short path that every account may enter."""
    directory = Path(tempfile.mkdtemp(prefix="link-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(params=ORDINARY_USERS, ids=["as_ourselves", "as_nobody"][: len(ORDINARY_USERS)])
def place(
    request: pytest.FixtureRequest, directory: Path, programs: dict[str, Path]
) -> Generator[Place]:
    """A fresh data folder, once for each kind of user that can be had here."""
    place = Place(directory, request.param, programs)
    yield place
    place.close()
