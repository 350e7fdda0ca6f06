"""One PostgreSQL cluster on disk: create it, start it, see whether it is alive, stop it."""

import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

from infrastructure.embedded.account import Account, ServerUnusable
from infrastructure.embedded.processes import await_end, works_in

START_SECONDS: Final = 300
"""Crash recovery replays up to `max_wal_size` of log before the server answers."""
STOP_SECONDS: Final = 60
ORPHAN_SECONDS: Final = 30
ORPHANS: Final = "pre-existing shared memory block"
LOG_LINES_SHOWN: Final = 15


class Cluster:
    """The cluster in `home/data`, run by `installation`'s programs as `account`."""

    def __init__(self, home: Path, installation: Path, account: Account, superuser: str) -> None:
        self._home = home
        self._bin = installation / "bin"
        self._account = account
        self._superuser = superuser
        self._data = home / "data"

    def create(self) -> None:
        """Make the cluster if there is none: UTF-8, C locale, data checksums.

        It is made beside its place and moved there, so that what is there is always whole.
        """
        if self._data.exists():
            return
        fresh = self._home / "data.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        self._account.private_directory(fresh)
        self._run(
            [
                str(self._bin / "initdb"),
                "--pgdata=data.new",
                f"--username={self._superuser}",
                "--encoding=UTF8",
                "--locale=C",
                "--data-checksums",
                "--auth=reject",
                "--no-instructions",
            ]
        )
        fresh.rename(self._data)

    def start(self, socket_directory: Path) -> None:
        """Start the server with the settings in `home/conf` and wait until it answers.

        Call it only when none is alive. After a postmaster was killed its children may take a
        moment to notice; until then PostgreSQL rightly refuses, and we try again.
        """
        self._forget_dead_postmaster(socket_directory)
        self._account.private_directory(self._home / "log")
        deadline = time.monotonic() + ORPHAN_SECONDS
        while True:
            try:
                return self._pg_ctl_start()
            except ServerUnusable as error:
                if ORPHANS not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _pg_ctl_start(self) -> None:
        self._run(
            [
                str(self._bin / "pg_ctl"),
                "start",
                "--pgdata=data",
                "--log=log/postgres.log",
                "--options=-c config_file=conf/postgresql.conf",
                "--wait",
                f"--timeout={START_SECONDS}",
            ]
        )

    def stop(self) -> None:
        """A fast shutdown: sessions are ended, everything is on disk when this returns.

        A server that dies meanwhile has stopped too; the next start recovers it.
        """
        process_id = self._postmaster()
        try:
            self._run(
                [
                    str(self._bin / "pg_ctl"),
                    "stop",
                    "--pgdata=data",
                    "--mode=fast",
                    "--wait",
                    f"--timeout={STOP_SECONDS}",
                ]
            )
        except ServerUnusable:
            if self.is_alive():
                raise
        # `pg_ctl` is content when the lock file has gone, which is a moment before the process.
        if process_id is not None:
            await_end(process_id, STOP_SECONDS)

    def is_alive(self) -> bool:
        """Whether a server of ours runs on this cluster, answering or still recovering."""
        process_id = self._postmaster()
        return process_id is not None and works_in(process_id, self._data)

    def port(self) -> int | None:
        """The port of the server that is alive, which names its socket too; None if not yet."""
        lines = self._lock_file()
        return int(lines[3]) if len(lines) > 3 else None

    def _postmaster(self) -> int | None:
        lines = self._lock_file()
        return int(lines[0]) if lines and lines[0].isdigit() else None

    def _lock_file(self) -> list[str]:
        """The lines of `postmaster.pid`: process id, data folder, start time, port, socket, ..."""
        try:
            return (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _forget_dead_postmaster(self, socket_directory: Path) -> None:
        """Take away the lock files of a postmaster that is no more.

        Its process id may belong to something else by now, and PostgreSQL would take that for
        itself. That its children are gone too, PostgreSQL sees from their shared memory, whose
        key comes from the data folder.
        """
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        for lock_file in socket_directory.glob(".s.PGSQL.*"):
            lock_file.unlink()

    def _run(self, command: list[str]) -> None:
        finished = subprocess.run(  # noqa: S603 - programs of the wheel, no shell
            command,
            cwd=self._home,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **self._account.spawn_options(),
        )
        if finished.returncode != 0:
            raise ServerUnusable(
                f"{Path(command[0]).name} failed ({finished.returncode}) for the embedded"
                f" PostgreSQL in {self._home}:\n{finished.stdout.strip()}\n{self._end_of_log()}"
            )

    def _end_of_log(self) -> str:
        log = self._home / "log" / "postgres.log"
        if not log.exists():
            return ""
        return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])
