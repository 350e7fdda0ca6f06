"""Real servers for the tests: one PostgreSQL and one Redis for each worker, a database per test."""

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings
from psycopg import sql
from psycopg.conninfo import make_conninfo

from infrastructure.embedded.postgres import EmbeddedPostgres
from infrastructure.embedded.redis import EmbeddedRedis, redis_program
from infrastructure.migrate import migrate

# What an example takes says more of the machine than of the code. A run draws the same ones until
# the test changes: it fails because of the code and not by chance. `make test THOROUGH=1` searches.
settings.register_profile("house", deadline=None, max_examples=40, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("thorough" if os.environ.get("LINK_TEST_THOROUGH") else "house")

TEMPLATE = "template_migrated"


SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
"""Where Debian and Ubuntu put it."""
GO_PACKAGE = Path("/usr/share/gocode/src/golang.org/x/mod/sumdb")
"""Where Debian and Ubuntu put golang-golang-x-mod-dev."""


NODE_FOLDER = Path(__file__).parent / "foreign"


def missing() -> dict[str, str]:
    """Fixtures that cannot be had here, and what is said of the tests that ask for them."""
    absent: dict[str, str] = {}
    if redis_program() is None:
        absent["redis_url"] = (
            "no redis-server or valkey-server on the PATH: the tests of Redis are left out"
        )
    if shutil.which("go") is None or not GO_PACKAGE.is_dir():
        absent["go_verifier"] = (
            "no golang-go with golang-golang-x-mod-dev: the verifier in Go is left out"
        )
    if shutil.which("node") is None or not (NODE_FOLDER / "node_modules" / ".installed").exists():
        absent["node_clients"] = (
            "no Node with the packages of tests/foreign (make node): openid-client, jose and "
            "an authenticator are left out"
        )
    if shutil.which("softhsm2-util") is None or not SOFTHSM.is_file():
        absent["soft_hsm"] = "no softhsm2: the tests of keys in a token (PKCS#11) are left out"
    return absent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs something that is not here (a Redis on Python 3.13, a Go compiler)."""
    absent = missing().keys()
    left_out = [item for item in items if absent & set(getattr(item, "fixturenames", ()))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_report_header() -> list[str]:
    """Say it when some tests are left out."""
    return list(missing().values())


@pytest.fixture(scope="session")
def node_clients() -> Path:
    """The folder of tests/foreign with its packages. Without Node, tests that ask for it are left
    out."""
    return NODE_FOLDER


@pytest.fixture(scope="session")
def server_directory() -> Generator[Path]:
    """A folder that the account which PostgreSQL runs as can get to, short enough for sockets."""
    directory = Path(tempfile.mkdtemp(prefix="link-tests-"))
    directory.chmod(0o711)
    yield directory
    # Hundreds of thousands of files by then, which nobody need wait for.
    removal = ["/bin/sh", "-c", 'rm -rf -- "$1" </dev/null >/dev/null 2>&1 &', "sh", str(directory)]
    subprocess.run(removal, check=True, start_new_session=True)


@pytest.fixture(scope="session")
def postgres_dsn(server_directory: Path) -> Generator[str]:
    """An embedded server of this worker's own, with administrator's rights; a session long."""
    with EmbeddedPostgres(
        server_directory, state_root=server_directory / "state", shared_buffers_mb=128
    ) as server:
        yield server.dsn()
        home = server.home
        # Nobody needs what is in it any more: without this, stopping writes all of it to disk.
        os.kill(int((home / "data" / "postmaster.pid").read_text().splitlines()[0]), signal.SIGQUIT)


@pytest.fixture(scope="session")
def template_database(postgres_dsn: str) -> str:
    """The name of a database with every migration applied, for `database` to copy."""
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    migrate(make_conninfo(postgres_dsn, dbname=TEMPLATE))
    return TEMPLATE


_numbers = itertools.count(1)


@pytest.fixture
def database(postgres_dsn: str, template_database: str) -> str:
    """The DSN (administrator's rights) of a fresh, migrated database of this test's own.

    It goes away with the server, so a test need not close what it opened before this ends.
    """
    # WAL_LOG: FILE_COPY is faster most times, but waits for a checkpoint, which takes seconds
    # once other tests have left much to write.
    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY WAL_LOG").format(
                sql.Identifier(name), sql.Identifier(template_database)
            )
        )
    return make_conninfo(postgres_dsn, dbname=name)


@pytest.fixture(scope="session")
def redis_url(server_directory: Path) -> Generator[str]:
    """An embedded Redis of this worker's own, a session long. Tests flush what they use."""
    program = redis_program()
    assert program is not None, "install redis-server or valkey-server, or use Python up to 3.12"
    with EmbeddedRedis(server_directory, program) as server:
        yield server.url()
