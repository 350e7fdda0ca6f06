"""The ground of a run: a PostgreSQL of its own, and a prepared database for each scenario."""

import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow
from redis import Redis

from infrastructure.embedded.postgres import PORT, EmbeddedPostgres
from infrastructure.embedded.redis import EmbeddedRedis, redis_program
from infrastructure.migrate import migrate
from tests.chaos.grounds import Ground, GroundKind, laid
from tests.chaos.prepared import Prepared, furnish

PREPARED: Final = "prepared"
FIRST_PORT: Final = 20_000
EPHEMERAL: Final = 32_768
"""Where the system's own choice of ports begins: a listener above may find its port taken."""

GONE_S: Final = 20.0
_CLIENTS: Final = (
    "SELECT pid FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend' "
    "AND pid <> pg_backend_pid()"
)


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything listens, the same through all scenarios of a run."""

    public: int
    device: int
    second_public: int
    second_device: int
    database: int
    palm: int
    product: int
    behind_the_line: int


class Stage:
    """Starts the servers, kills them, and starts them again."""

    def __init__(
        self,
        folder: Path,
        postgres: EmbeddedPostgres,
        redis: EmbeddedRedis | None,
        ground: Ground,
    ) -> None:
        self.folder = folder
        self._redis = redis
        self._ground = ground
        self.ports = Ports(**dict(zip(Ports.__struct_fields__, free_ports(8), strict=True)))
        self._postgres = postgres
        self.prepared: Prepared

    @property
    def data_dir(self) -> Path:
        """The platform's: keys, CA, inbox. Postgres and Redis are the run's own."""
        return self.folder / "platform"

    @property
    def ca_file(self) -> Path:
        return self.data_dir / "pki" / "server-ca.pem"

    @property
    def socket(self) -> str:
        """The server's Unix socket, for the cutter."""
        return f"{conninfo_to_dict(self._postgres.dsn())['host']}/.s.PGSQL.{PORT}"

    def dsn(self, database: str) -> str:
        """With administrator's rights, and straight to the server."""
        return self._postgres.dsn(database)

    def url_through_cutter(self, database: str) -> str:
        """What the platform is given."""
        return (
            f"postgresql://postgres@127.0.0.1:{self.ports.database}/{database}"
            "?sslmode=disable&gssencmode=disable"
        )

    async def prepare(self) -> None:
        """Make the database that every scenario begins with: a tenant, tills and three people."""
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(PREPARED)))
        dsn = self.dsn(PREPARED)
        migrate(dsn)
        product_url = f"http://127.0.0.1:{self.ports.product}"
        self.prepared = await furnish(dsn, self.data_dir, self.folder, product_url)

    def database(
        self, name: str, change: Callable[[psycopg.Connection[TupleRow], str], None] | None
    ) -> None:
        """A copy of the prepared database, with a bug planted in it when there is one."""
        self.await_no_backends(PREPARED)  # who prepared it may not have gone yet
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY WAL_LOG").format(
                    sql.Identifier(name), sql.Identifier(PREPARED)
                )
            )
        if change is not None:
            with psycopg.connect(self.dsn(name), autocommit=True) as connection:
                change(connection, name)

    def environment(self, database: str, *, second: bool = False) -> dict[str, str]:
        """Of the platform in a scenario, or of the second process beside it."""
        ports = self.ports
        given = {
            "LINK_DATA_DIR": str(self.data_dir),
            "LINK_DATABASE_URL": self.url_through_cutter(database),
            "LINK_DEVELOPMENT": "true",
            "LINK_PUBLIC_PORT": str(ports.second_public if second else ports.public),
            "LINK_DEVICE_PORT": str(ports.second_device if second else ports.device),
            "LINK_PALM_VENDOR_URL": f"http://127.0.0.1:{ports.palm}",
            "LINK_LOG_LEVEL": "warning",
        }
        return given if self._redis is None else {**given, "LINK_REDIS_URL": self._redis.url()}

    def redis_process(self) -> int:
        """Its process id."""
        with self._redis_client() as client:
            return int(client.info("server")["process_id"])

    def kill_redis(self) -> None:
        """All that it held is gone; `start_redis` brings back an empty one."""
        os.kill(self.redis_process(), signal.SIGKILL)

    def start_redis(self) -> None:
        assert self._redis is not None
        self._redis.start()

    def flush_redis(self) -> None:
        with self._redis_client() as client:
            client.flushall()

    def _redis_client(self) -> Redis:
        assert self._redis is not None, "scenarios of Redis are left out where there is none"
        return Redis.from_url(self._redis.url())

    def fail_one_fsync(self) -> None:
        self._ground.arm()

    def fsync_has_failed(self) -> bool:
        return not self._ground.armed()

    def fill_disk(self) -> None:
        self._ground.fill()

    def empty_disk(self) -> None:
        self._ground.empty()

    def kill_postmaster(self) -> None:
        """All of the server's memory is gone; its children notice and end."""
        lock_file = self._postgres.home / "data" / "postmaster.pid"
        os.kill(int(lock_file.read_text().split()[0]), signal.SIGKILL)

    def start_postgres(self) -> None:
        """Again, after it was killed; it recovers by itself."""
        self._postgres.start()

    def backends(self, database: str) -> Sequence[int]:
        """The process ids of the server's backends for the platform."""
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            return [row[0] for row in connection.execute(_CLIENTS, (database,))]

    def await_no_backends(self, database: str) -> None:
        """Until what a killed platform had begun is over, one way or the other."""
        until(lambda: not self.backends(database), GONE_S, "backends of a dead platform stay")

    def await_postgres(self, database: str, before: Collection[int]) -> None:
        """Until the server takes connections again, after one of its backends was killed.

        It goes on taking them until it has noticed; then it ends all of `before` and recovers.
        """

        def recovered() -> bool:
            try:
                return set(before).isdisjoint(self.backends(database))
            except psycopg.OperationalError:
                return False

        until(recovered, 60.0, "PostgreSQL does not come back")


class TookTooLong(Exception):
    """A condition that must come did not."""


def until(condition: Callable[[], bool], within_s: float, otherwise: str) -> None:
    """Wait for something to become true. Raises TookTooLong."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise TookTooLong(otherwise)
        time.sleep(0.02)


def free_ports(count: int) -> Sequence[int]:
    """Loopback ports that nobody listens on now, all below `EPHEMERAL`.

    Several runs at a time begin their search at different places.
    """
    found: list[int] = []
    span = EPHEMERAL - FIRST_PORT
    for step in range(span):
        port = FIRST_PORT + (os.getpid() * 7 + step) % span
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise TookTooLong("no free ports")


@contextmanager
def stage(notice: Callable[[str], None], kind: GroundKind = "plain") -> Generator[Stage]:
    """Servers in a temporary folder, gone when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="link-chaos-"))
    folder.chmod(0o711)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        ground = stack.enter_context(laid(kind, folder))
        postgres = EmbeddedPostgres(
            ground.data_dir,
            state_root=folder / "state",
            installation=ground.installation,
            shared_buffers_mb=128,
            notice=notice,
        )
        stack.enter_context(postgres)
        program = redis_program()
        redis = None
        if program is not None:
            redis = stack.enter_context(EmbeddedRedis(folder, program))
        yield Stage(folder, postgres, redis, ground)
