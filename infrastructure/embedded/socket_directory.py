"""A folder for a Unix socket whose whole path stays under the kernel's 107 bytes."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from infrastructure.embedded.account import Account

LONGEST_PATH: Final = 103
"""Bytes in `sun_path` without its final zero: 107 on Linux, 103 on macOS and the BSDs."""


def socket_directory(home: Path, socket_name: str, account: Account) -> Path:
    """A private folder for a new server's socket: `home/run`, or one under the temp folder.

    Which one it was stands in `home/socket-directory`, for whoever attaches later.
    """
    record = home / "socket-directory"
    directory = home / "run"
    if len(os.fsencode(directory / socket_name)) > LONGEST_PATH:
        recorded = recorded_socket_directory(home)
        if recorded is not None and recorded.is_dir() and recorded.stat().st_uid == account.uid:
            return recorded
        directory = Path(tempfile.mkdtemp(prefix="link-"))
    account.private_directory(directory)
    record.write_text(str(directory))
    return directory


def recorded_socket_directory(home: Path) -> Path | None:
    """Where the server that lives in `home` has its socket, if it ever had one."""
    record = home / "socket-directory"
    return Path(record.read_text()) if record.exists() else None


def remove_socket_directory(home: Path) -> None:
    """Take away a folder under the temp folder once its server has stopped."""
    directory = recorded_socket_directory(home)
    if directory is not None and directory != home / "run":
        shutil.rmtree(directory, ignore_errors=True)
        (home / "socket-directory").unlink()
