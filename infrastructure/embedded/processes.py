"""Whether a process is still there: a server that has ended, and one that ends, look alike."""

import os
import sys
import time
from pathlib import Path


def is_running(process_id: int) -> bool:
    """Whether the process exists and is more than a name waiting to be reaped."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _state(process_id) != "Z"


def works_in(process_id: int, directory: Path) -> bool:
    """Whether the process is there and has `directory` as its own, as a postmaster does.

    Process ids are used again, so a number in a lock file proves nothing by itself. Where the
    system does not tell a process's folder, that it exists has to do.
    """
    if sys.platform != "linux":
        return is_running(process_id)
    try:
        return Path(os.readlink(f"/proc/{process_id}/cwd")) == directory.resolve()
    except (FileNotFoundError, PermissionError):
        return False


def await_end(process_id: int, seconds: float) -> bool:
    """Wait for a process that is not our child; False when it is still there after `seconds`."""
    deadline = time.monotonic() + seconds
    while is_running(process_id):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _state(process_id: int) -> str | None:
    """The letter of `/proc/<id>/stat`, where there is one."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None
