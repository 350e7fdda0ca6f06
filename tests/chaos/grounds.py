"""What the server of a run stands on: a plain folder, a small disk, or a disk that fails to sync.

The last two need a mount (root) and a C compiler; where there is none, `missing` says so.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from infrastructure.embedded.account import server_account
from infrastructure.embedded.installation import packaged_postgres, reachable_postgres

GroundKind = Literal["plain", "small_disk", "failing_fsync"]

DISK: Final = "700m"
CHUNKS: Final = (1 << 20, 4096)
"""A disk is filled with pieces of these sizes, until no more of the last fit."""

SHIM: Final = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int fails(void) {
    const char *armed = getenv("FSYNC_FAILS_ONCE");
    return armed && unlink(armed) == 0;
}
int fdatasync(int file) {
    int (*real)(int) = (int (*)(int)) dlsym(RTLD_NEXT, "fdatasync");
    if (fails()) { errno = EIO; return -1; }
    return real(file);
}
"""
"""Whoever can take the file away has its sync fail: one for each time that it is laid there.

PostgreSQL syncs its write-ahead log with fdatasync, and every commit waits for that.
"""


class Ground:
    """Where the server's files go, and which PostgreSQL runs on them (None: the wheel's)."""

    def __init__(self, data_dir: Path, installation: Path | None = None) -> None:
        self.data_dir = data_dir
        self.installation = installation
        self._ballast = data_dir / "ballast"
        self._armed = data_dir / "arms" / "fails"

    def arm(self) -> None:
        self._armed.touch()

    def armed(self) -> bool:
        return self._armed.exists()

    def fill(self) -> None:
        """Take all the room that is left, and what is given back meanwhile."""
        with self._ballast.open("wb", buffering=0) as file:
            for size in CHUNKS:
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass

    def empty(self) -> None:
        self._ballast.unlink()


def missing(kind: GroundKind) -> str | None:
    """Why there is no such ground here; None when there is."""
    if kind == "failing_fsync" and shutil.which("gcc") is None:
        return "no gcc to build the preload shim with"
    if kind == "small_disk" and (os.geteuid() != 0 or not _can_mount()):
        return "no right to mount a small tmpfs"
    return None


@contextmanager
def laid(kind: GroundKind, folder: Path) -> Generator[Ground]:
    """Ground for one server, under `folder`."""
    if kind == "plain":
        yield Ground(folder)
    elif kind == "small_disk":
        disk = folder / "disk"
        disk.mkdir(mode=0o755)
        _run("mount", "-t", "tmpfs", "-o", f"size={DISK},mode=755", "tmpfs", str(disk))
        try:
            yield Ground(disk)
        finally:
            _run("umount", "--lazy", str(disk))
    else:
        yield _with_shim(folder)


def _with_shim(folder: Path) -> Ground:
    """A PostgreSQL whose `bin/postgres` loads the shim; its other programs and files are copies
    of, or links to, the wheel's."""
    arms = folder / "arms"
    arms.mkdir()
    arms.chmod(0o777)
    account = server_account(folder / "postgres" / "data")
    wheel = reachable_postgres(packaged_postgres(), account, folder / "state")
    package = wheel.parent
    ours = folder / "with-shim" / package.name / wheel.name
    (ours / "bin").mkdir(parents=True)
    # Programs of the wheel find its libraries from where they lie themselves.
    libraries = package.with_name(f"{package.name}.libs")
    (folder / "with-shim" / libraries.name).symlink_to(libraries)
    for part in wheel.iterdir():
        if part.name != "bin":
            (ours / part.name).symlink_to(part)
    for program in ("pg_ctl", "initdb"):
        # They look for `postgres` where they lie, links followed.
        shutil.copy2(wheel / "bin" / program, ours / "bin")
    source, shim = ours / "shim.c", ours / "shim.so"
    source.write_text(SHIM)
    _run("gcc", "-shared", "-fPIC", "-O1", "-o", str(shim), str(source), "-ldl")
    postgres = ours / "bin" / "postgres"
    postgres.write_text(
        f"#!/bin/sh\nFSYNC_FAILS_ONCE={arms / 'fails'} LD_PRELOAD={shim}"
        f' exec {wheel / "bin" / "postgres"} "$@"\n'
    )
    postgres.chmod(0o755)
    return Ground(folder, ours)


def _can_mount() -> bool:
    """Root in a container often may not."""
    found = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        check=False,
        capture_output=True,
    )
    return found.returncode == 0


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
