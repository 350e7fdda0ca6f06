"""Who uses an embedded server: the rule by which the last one out turns off the light.

Every process of ours that uses a server holds a shared lock on one file for as long as it lives.
The kernel keeps the count, so a process that is killed leaves it at once. Starting, attaching and
stopping happen under a second, exclusive lock, one process at a time:

    start    the first finds no server and starts one; the others find it and attach
    stop     whoever leaves and finds nobody else holding the shared lock stops the server
    killed   the server stays; the next start attaches, and its clean exit stops the server
"""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from infrastructure.embedded.account import ServerUnusable


class ServerUsers:
    """The processes that use the server called `server` under `directory`.

    Raises ServerUnusable when the folder belongs to another user.
    """

    def __init__(self, directory: Path, server: str) -> None:
        self._changing = directory / f"{server}.changing"
        self._users = directory / f"{server}.users"
        self._joined: int | None = None

    @contextmanager
    def changing(self) -> Generator[None]:
        """Be the only process that starts, attaches or stops; the others wait here."""
        descriptor = _open(self._changing)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def join(self) -> None:
        """Count this process in. Call it inside `changing`."""
        if self._joined is None:
            self._joined = _open(self._users)
            fcntl.flock(self._joined, fcntl.LOCK_SH)

    def leave(self) -> bool:
        """Count this process out; True when nobody else is in. Call it inside `changing`."""
        if self._joined is None:
            return False
        descriptor, self._joined = self._joined, None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        raise ServerUnusable(
            f"{path.parent} belongs to another user: run as that user, or set LINK_DATA_DIR to a"
            " folder of your own"
        ) from error
