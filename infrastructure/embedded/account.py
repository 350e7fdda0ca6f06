"""As whom a server runs: ourselves, or, when we are root, an account that may do little.

PostgreSQL refuses to run as root. Root therefore hands its server to an account that every Unix
has and that owns nothing else; no account is created.
"""

import os
import pwd
import stat
from pathlib import Path
from typing import Any, Final

import msgspec

UNPRIVILEGED: Final = ("nobody", "daemon")


class ServerUnusable(Exception):
    """An embedded server could not be started, and why, in words for the person at the keyboard."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A Unix account that a server runs as. `switching` when it is not the one we run as."""

    name: str
    uid: int
    gid: int
    switching: bool

    def spawn_options(self) -> dict[str, Any]:
        """Arguments for `subprocess` that make a child run as this account and nothing more."""
        if not self.switching:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def may_enter(self, directory: Path) -> bool:
        """Whether every folder on the way to `directory` lets this account through."""
        resolved = directory.resolve()
        return all(self._may_search(step) for step in (resolved, *resolved.parents))

    def _may_search(self, directory: Path) -> bool:
        status = directory.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)

    def private_directory(self, path: Path) -> Path:
        """Make `path` a folder that only this account (and root) can look into."""
        path.mkdir(mode=0o700, exist_ok=True)
        if self.switching:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)
        return path


def ourselves() -> Account:
    """The account that this process runs as, under the number of its user id."""
    return Account(name=str(os.geteuid()), uid=os.geteuid(), gid=os.getegid(), switching=False)


def server_account(existing: Path) -> Account:
    """As whom to run the server whose files are, or will be, in `existing`.

    Ourselves as an ordinary user. As root, whoever owns the files already, else the first of
    `UNPRIVILEGED` that exists. Raises ServerUnusable when there is no such account, or when we
    have no name on this system.
    """
    if os.geteuid() != 0:
        if existing.exists() and existing.stat().st_uid != os.geteuid():
            owner = existing.stat().st_uid
            raise ServerUnusable(
                f"{existing} belongs to the user id {owner}, and we are {os.geteuid()}: run as"
                " that user or as root, or set LINK_DATA_DIR to a folder of your own"
            )
        try:
            name = pwd.getpwuid(os.geteuid()).pw_name
        except KeyError as error:
            raise ServerUnusable(
                f"the user id {os.geteuid()} has no name on this system, and PostgreSQL does not"
                " run without one; run as a named account or set LINK_DATABASE_URL"
            ) from error
        return msgspec.structs.replace(ourselves(), name=name)
    if existing.exists() and existing.stat().st_uid != 0:
        keeper = pwd.getpwuid(existing.stat().st_uid)
        return Account(name=keeper.pw_name, uid=keeper.pw_uid, gid=keeper.pw_gid, switching=True)
    for name in UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid, switching=True)
    raise ServerUnusable(
        "we run as root, PostgreSQL does not, and none of the accounts "
        f"{', '.join(UNPRIVILEGED)} exists; run as an ordinary user or set LINK_DATABASE_URL"
    )
