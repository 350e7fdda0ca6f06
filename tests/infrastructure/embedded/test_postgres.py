"""The embedded PostgreSQL lives and dies as its users need it to, whatever happens to them."""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from infrastructure.embedded.account import ServerUnusable
from infrastructure.embedded.postgres import EmbeddedPostgres, tell
from infrastructure.embedded.processes import is_running
from tests.infrastructure.embedded.conftest import Place


class Embedded(Protocol):
    def __call__(
        self,
        data_dir: Path,
        *,
        tcp_port: int | None = None,
        state_root: Path | None = None,
        notice: Callable[[str], None] = tell,
    ) -> EmbeddedPostgres: ...


@pytest.fixture
def embedded(programs: dict[str, Path]) -> Embedded:
    """Makes a server of a program that every account can get to."""

    def embedded(
        data_dir: Path,
        *,
        tcp_port: int | None = None,
        state_root: Path | None = None,
        notice: Callable[[str], None] = tell,
    ) -> EmbeddedPostgres:
        return EmbeddedPostgres(
            data_dir,
            tcp_port=tcp_port,
            state_root=state_root or data_dir / "state",
            installation=programs["postgres"],
            shared_buffers_mb=128,
            notice=notice,
        )

    return embedded


def postmaster(place: Place) -> int:
    lock_file = place.data_dir / "postgres" / "data" / "postmaster.pid"
    return int(lock_file.read_text().splitlines()[0])


def keep(dsn: str, value: int) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value int)")
        connection.execute("INSERT INTO kept VALUES (%s)", (value,))


def kept(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as connection:
        return [value for (value,) in connection.execute("SELECT value FROM kept ORDER BY 1")]


def test_what_is_committed_is_there_after_a_clean_stop(place: Place) -> None:
    first = place.user("postgres")
    keep(first.started(), 1)
    process_id = postmaster(place)
    first.stop()
    assert not is_running(process_id)
    second = place.user("postgres")
    assert kept(second.started()) == [1]


def test_a_killed_owner_leaves_the_server_to_the_next_one_who_stops_it(place: Place) -> None:
    """Fails when `leave` never says last (server stays), and when starting does not attach."""
    killed = place.user("postgres")
    keep(killed.started(), 1)
    process_id = postmaster(place)
    killed.kill()
    assert is_running(process_id)
    heir = place.user("postgres")
    assert kept(heir.started()) == [1]
    assert postmaster(place) == process_id
    heir.stop()
    assert not is_running(process_id)


def test_two_who_start_at_once_share_a_server_that_ends_with_the_last(place: Place) -> None:
    """Fails when `leave` always says last: the second finds its server gone."""
    one, other = place.user("postgres"), place.user("postgres")
    keep(one.started(), 1)
    dsn = other.started()
    process_id = postmaster(place)
    one.stop()
    assert is_running(process_id)
    assert kept(dsn) == [1]
    other.stop()
    assert not is_running(process_id)


def test_a_killed_server_starts_again_with_what_was_committed(place: Place) -> None:
    owner = place.user("postgres")
    keep(owner.started(), 1)
    process_id = postmaster(place)
    owner.kill()
    os.kill(process_id, signal.SIGKILL)
    heir = place.user("postgres")
    assert kept(heir.started()) == [1]
    assert postmaster(place) != process_id


def test_a_server_killed_under_its_user_does_not_keep_it_from_ending(place: Place) -> None:
    owner = place.user("postgres")
    owner.started()
    os.kill(postmaster(place), signal.SIGKILL)
    owner.stop()


def test_a_lock_file_whose_process_id_is_now_another_s_is_not_believed(place: Place) -> None:
    """PostgreSQL alone refuses to start here: our own id is of a process that lives."""
    owner = place.user("postgres")
    keep(owner.started(), 1)
    lock_file = place.data_dir / "postgres" / "data" / "postmaster.pid"
    lines = lock_file.read_text().splitlines()
    owner.stop()
    lock_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    os.chown(lock_file, lock_file.parent.stat().st_uid, lock_file.parent.stat().st_gid)
    assert kept(place.user("postgres").started()) == [1]


def test_a_cluster_that_was_half_made_is_made_anew(embedded: Embedded, directory: Path) -> None:
    leftover = directory / "postgres" / "data.new" / "base" / "1"
    leftover.mkdir(parents=True)
    (leftover / "112").write_text("half")
    with embedded(directory) as server:
        keep(server.dsn(), 1)
    assert not (directory / "postgres" / "data.new").exists()


def test_the_cluster_is_postgresql_18_in_utf8_and_c_with_checksums_and_durable(
    postgres_dsn: str,
) -> None:
    wanted = {
        "server_encoding": "UTF8",
        "lc_collate": "C",
        "data_checksums": "on",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "wal_compression": "pglz",
        "listen_addresses": "",
    }
    with psycopg.connect(postgres_dsn) as connection:
        assert connection.info.server_version // 10_000 == 18
        found: dict[str, str] = dict(
            connection.execute(
                "SELECT name, CASE name WHEN 'lc_collate' THEN '' ELSE current_setting(name) END"
                " FROM pg_settings WHERE name = ANY(%s)",
                (list(wanted),),
            ).fetchall()
        )
        collation = connection.execute(
            "SELECT datcollate FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    assert found | {"lc_collate": "C"} == wanted
    assert collation == ("C",)


def test_a_data_folder_with_a_long_path_has_its_socket_elsewhere(
    embedded: Embedded, directory: Path
) -> None:
    data_dir = directory / ("long" * 20) / 'it\'s a $HOME "folder"'
    with embedded(data_dir) as server:
        keep(server.dsn(), 1)
        sockets = Path(str(conninfo_to_dict(server.dsn())["host"]))
        assert not sockets.is_relative_to(directory)
        assert sockets.stat().st_mode & 0o077 == 0
    assert not sockets.exists()
    with embedded(data_dir) as server:
        assert kept(server.dsn()) == [1]


def test_over_tcp_a_password_is_needed(embedded: Embedded, directory: Path) -> None:
    port = free_port()
    with embedded(directory, tcp_port=port) as server:
        password = server.password_file.read_text()
        assert server.password_file.stat().st_mode & 0o077 == 0
        dsn = make_conninfo(host="127.0.0.1", port=port, user="postgres", dbname="link")
        keep(make_conninfo(dsn, password=password), 1)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(make_conninfo(dsn, password="wrong"))
        assert kept(server.dsn()) == [1]


def test_who_attaches_to_a_server_without_the_asked_port_is_told(
    embedded: Embedded, directory: Path
) -> None:
    notices: list[str] = []
    with (
        embedded(directory) as first,
        embedded(directory, tcp_port=free_port(), notice=notices.append) as second,
    ):
        keep(second.dsn(), 1)
        assert kept(first.dsn()) == [1]
    assert len(notices) == 1
    assert "not on port" in notices[0]


def test_a_closed_folder_above_sends_root_s_data_elsewhere_and_says_so(
    embedded: Embedded, directory: Path
) -> None:
    """An ordinary user may enter its own closed folder, so nothing moves and nothing is said."""
    closed = directory / "closed"
    closed.mkdir(mode=0o700)
    data_dir = closed / "data"
    notices: list[str] = []
    state_root = directory / "state"

    def server() -> EmbeddedPostgres:
        return embedded(data_dir, state_root=state_root, notice=notices.append)

    with server() as first:
        keep(first.dsn(), 1)
        moved = first.home.is_relative_to(state_root)
    assert moved == (os.geteuid() == 0)
    assert [str(first.home) in notice for notice in notices] == ([True] if moved else [])
    with server() as second:
        assert kept(second.dsn()) == [1]
    assert len(notices) == int(moved)


def test_a_folder_of_another_user_is_refused_in_plain_words(place: Place) -> None:
    """Root can use any folder; for it the ordinary user's process is what must be refused."""
    place.data_dir.chmod(0o500)
    if os.geteuid() == 0:
        os.chown(place.data_dir, 0, 0)
    user = place.user("postgres")
    if place.runs_as_root:
        assert user.started()
    else:
        assert "belongs to another user" in user.failure()


def test_a_server_that_cannot_start_says_why(embedded: Embedded, directory: Path) -> None:
    with embedded(directory) as server:
        home = server.home
    (home / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(ServerUnusable, match="database files are incompatible"):
        embedded(directory).start()


def test_a_failed_start_counts_nobody_in(embedded: Embedded, directory: Path) -> None:
    """Fails when a start that raises stays joined: the later stop would not be the last."""
    with embedded(directory) as server:
        home = server.home
    version = (home / "data" / "PG_VERSION").read_text()
    (home / "data" / "PG_VERSION").write_text("9\n")
    failing = embedded(directory)
    with pytest.raises(ServerUnusable):
        failing.start()
    (home / "data" / "PG_VERSION").write_text(version)
    with embedded(directory):
        process_id = int((home / "data" / "postmaster.pid").read_text().splitlines()[0])
    assert not is_running(process_id)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
