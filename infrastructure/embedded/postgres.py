"""The embedded PostgreSQL 18: made, started, attached to and stopped under one data folder.

    <data_dir>/postgres/data      the cluster, owned by the account that the server runs as
    <data_dir>/postgres/conf      our settings, written anew at every start, not the account's
    <data_dir>/postgres/log       what the server says
    <data_dir>/postgres/run       its Unix socket, when the path is short enough for one

When we are root and the account cannot get to `data_dir`, `<data_dir>/postgres` is a link to a
private folder under the system's state folder. Who stops the server: see `users`.
"""

import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from infrastructure.embedded.account import Account, ServerUnusable, server_account
from infrastructure.embedded.cluster import START_SECONDS, Cluster
from infrastructure.embedded.installation import packaged_postgres, reachable_postgres
from infrastructure.embedded.postgres_settings import write_settings
from infrastructure.embedded.socket_directory import (
    recorded_socket_directory,
    remove_socket_directory,
    socket_directory,
)
from infrastructure.embedded.users import ServerUsers

SUPERUSER: Final = "postgres"
DATABASE: Final = "link"
PORT: Final = 5432
STATE_ROOT: Final = Path("/var/lib/link-identity")


def tell(notice: str) -> None:
    """Say a notice to the person at the keyboard."""
    sys.stderr.write(notice + "\n")


class EmbeddedPostgres:
    """A PostgreSQL that this process uses together with others of ours on the same data folder.

    `with EmbeddedPostgres(data_dir) as server:` starts it, or attaches to the one that runs.
    With `tcp_port` it also listens on 127.0.0.1; the password is in `password_file`. What is
    out of reach for the server's account goes under `state_root`. `installation` is a
    PostgreSQL other than the wheel's, with `bin/postgres` in it.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        tcp_port: int | None = None,
        state_root: Path = STATE_ROOT,
        installation: Path | None = None,
        shared_buffers_mb: int | None = None,
        notice: Callable[[str], None] = tell,
    ) -> None:
        self._data_dir = data_dir.absolute()
        self._tcp_port = tcp_port
        self._state_root = state_root
        self._installation = installation
        self._shared_buffers_mb = shared_buffers_mb
        self._notice = notice
        self._users = ServerUsers(self._data_dir, "postgres")
        self._cluster: Cluster | None = None
        self._port = tcp_port or PORT

    @property
    def home(self) -> Path:
        """The folder that everything of this server lies in, with links followed."""
        return (self._data_dir / "postgres").resolve()

    @property
    def password_file(self) -> Path:
        """Holds the password of `postgres` for connections over TCP."""
        return self._data_dir / "postgres.password"

    def dsn(self, database: str = DATABASE) -> str:
        """A connection string with administrator's rights, over the Unix socket.

        Raises ServerUnusable when the server has never been started.
        """
        directory = recorded_socket_directory(self.home)
        if directory is None:
            raise ServerUnusable(f"the embedded PostgreSQL in {self.home} has not been started")
        return make_conninfo(
            "", host=str(directory), port=self._port, user=SUPERUSER, dbname=database
        )

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
        """Start the server, or attach to it, and return once it answers.

        Raises ServerUnusable with the reason, and the end of the server's log if it wrote one.
        """
        self._data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        with self._users.changing():
            account = server_account(self._data_dir / "postgres" / "data")
            self._settle(account)
            installation = self._installation or reachable_postgres(
                packaged_postgres(), account, self._state_root
            )
            cluster = Cluster(self.home, installation, account, SUPERUSER)
            self._users.join()
            try:
                cluster.create()
                with self._first_answer(cluster, account) as connection:
                    self._prepare(connection)
            except BaseException:
                self._leave(cluster)
                raise
            self._cluster = cluster

    def stop(self) -> None:
        """Leave; stop the server (a fast shutdown) when no other process of ours uses it."""
        if self._cluster is None:
            return
        cluster, self._cluster = self._cluster, None
        with self._users.changing():
            self._leave(cluster)

    def _leave(self, cluster: Cluster) -> None:
        if self._users.leave():
            if cluster.is_alive():
                cluster.stop()
            remove_socket_directory(self.home)

    def _settle(self, account: Account) -> None:
        """Make the home folder, elsewhere if the account cannot get to where it should be."""
        place = self._data_dir / "postgres"
        if not place.exists():
            place.unlink(missing_ok=True)
            if account.may_enter(self._data_dir):
                place.mkdir(mode=0o755)
            else:
                self._state_root.mkdir(mode=0o755, parents=True, exist_ok=True)
                elsewhere = Path(tempfile.mkdtemp(prefix="postgres-", dir=self._state_root))
                elsewhere.chmod(0o755)
                place.symlink_to(elsewhere)
                self._notice(
                    f"PostgreSQL runs as the account {account.name}, which may not enter"
                    f" {self._data_dir}: its files are in {elsewhere} ({place} points there)."
                )
        if not account.may_enter(self.home):
            raise ServerUnusable(
                f"the account {account.name}, as which PostgreSQL runs, may not enter {self.home}:"
                " open the folders above it for searching (chmod o+x), set LINK_DATA_DIR to"
                " another folder, or set LINK_DATABASE_URL"
            )

    def _first_answer(self, cluster: Cluster, account: Account) -> psycopg.Connection[TupleRow]:
        """Start the server if none is alive, and wait until one answers.

        A server that we attach to may still be recovering, or about to die.
        """
        deadline = time.monotonic() + START_SECONDS
        while True:
            if not cluster.is_alive():
                self._port = self._tcp_port or PORT
                cluster.start(self._configure(account))
            self._port = cluster.port() or self._port
            try:
                return psycopg.connect(self.dsn("postgres"), autocommit=True)
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise ServerUnusable(f"PostgreSQL does not answer: {error}") from error
                time.sleep(0.05)

    def _configure(self, account: Account) -> Path:
        """Write the settings for a start; the folder that the socket will be in."""
        directory = socket_directory(self.home, f".s.PGSQL.{self._port}", account)
        write_settings(
            self.home / "conf",
            account=account,
            socket_directory=directory,
            port=self._port,
            tcp=self._tcp_port is not None,
            shared_buffers_mb=self._shared_buffers_mb,
        )
        return directory

    def _prepare(self, connection: psycopg.Connection[TupleRow]) -> None:
        """See to it that our database is there, and the password where one was asked for."""
        found = connection.execute(
            "SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)
        ).fetchone()
        if found is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        if self._tcp_port is not None:
            self._open_to_passwords(connection)

    def _open_to_passwords(self, connection: psycopg.Connection[TupleRow]) -> None:
        """Give `postgres` the password in `password_file`, which is made on first use."""
        listening = connection.execute("SHOW listen_addresses").fetchone()
        if listening == ("",) or self._port != self._tcp_port:
            self._notice(
                f"PostgreSQL already runs for another process, and not on port {self._tcp_port}:"
                " stop that process first to have the port opened."
            )
            return
        if not self.password_file.exists():
            descriptor = os.open(self.password_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(24))
        password = sql.Literal(self.password_file.read_text())
        connection.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(SUPERUSER), password)
        )
