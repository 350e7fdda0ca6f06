"""The embedded Redis: where its program comes from, and how it lives and dies with its users."""

import os
import signal
from pathlib import Path

import pytest
import redis

from infrastructure.embedded.account import ServerUnusable
from infrastructure.embedded.processes import is_running
from infrastructure.embedded.redis import EmbeddedRedis, redis_program
from tests.infrastructure.embedded.conftest import Place


def server_id(place: Place) -> int:
    return int((place.data_dir / "redis" / "redis.pid").read_text())


def put(url: str, key: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.set(key, "kept")


def has(url: str, key: str) -> bool:
    with redis.Redis.from_url(url) as client:
        return bool(client.get(key) == b"kept")


def executable(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\nexit 1\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_a_server_on_the_path_is_preferred(directory: Path, name: str) -> None:
    program = executable(directory / "bin" / name)
    assert redis_program(str(directory / "bin"), bundled=lambda: None) == program


def test_the_bundled_server_is_taken_when_the_path_has_none(directory: Path) -> None:
    bundled = executable(directory / "bundled")
    assert redis_program(str(directory), bundled=lambda: bundled) == bundled


def test_without_any_program_there_is_none(directory: Path) -> None:
    assert redis_program(str(directory), bundled=lambda: None) is None


def test_a_program_that_fails_is_reported(directory: Path) -> None:
    program = executable(directory / "bin" / "redis-server")
    with pytest.raises(ServerUnusable, match="redis-server did not start"):
        EmbeddedRedis(directory, program).start()


@pytest.mark.usefixtures("redis_url")
class TestWithAProgram:
    def test_it_stops_with_its_user_and_keeps_nothing(self, place: Place) -> None:
        first = place.user("redis")
        put(first.started(), "key")
        process_id = server_id(place)
        first.stop()
        assert not is_running(process_id)
        assert not has(place.user("redis").started(), "key")

    def test_a_killed_owner_leaves_the_server_to_the_next_one_who_stops_it(
        self, place: Place
    ) -> None:
        """Fails when `leave` never says last, and when starting does not attach."""
        killed = place.user("redis")
        put(killed.started(), "key")
        process_id = server_id(place)
        killed.kill()
        heir = place.user("redis")
        assert has(heir.started(), "key")
        assert server_id(place) == process_id
        heir.stop()
        assert not is_running(process_id)

    def test_two_who_start_at_once_share_a_server_that_ends_with_the_last(
        self, place: Place
    ) -> None:
        """Fails when `leave` always says last: the second finds its server gone."""
        one, other = place.user("redis"), place.user("redis")
        put(one.started(), "key")
        url = other.started()
        process_id = server_id(place)
        one.stop()
        assert has(url, "key")
        other.stop()
        assert not is_running(process_id)

    def test_a_killed_server_is_started_anew(self, place: Place) -> None:
        owner = place.user("redis")
        owner.started()
        process_id = server_id(place)
        owner.kill()
        os.kill(process_id, signal.SIGKILL)
        put(place.user("redis").started(), "key")
        assert server_id(place) != process_id

    def test_a_server_killed_under_its_user_does_not_keep_it_from_ending(
        self, place: Place
    ) -> None:
        owner = place.user("redis")
        owner.started()
        os.kill(server_id(place), signal.SIGKILL)
        owner.stop()

    def test_it_listens_on_nothing_but_a_private_socket(
        self, directory: Path, programs: dict[str, Path]
    ) -> None:
        with (
            EmbeddedRedis(directory, programs["redis"]) as server,
            redis.Redis.from_url(server.url()) as client,
        ):
            assert client.config_get("port") == {"port": "0"}
            assert client.config_get("save") == {"save": ""}
        assert (directory / "redis").stat().st_mode & 0o077 == 0

    def test_a_data_folder_with_a_long_path_has_its_socket_elsewhere(
        self, directory: Path, programs: dict[str, Path]
    ) -> None:
        data_dir = directory / ("long" * 20) / "a folder, 100% odd?#"
        with EmbeddedRedis(data_dir, programs["redis"]) as server:
            put(server.url(), "key")
            assert has(server.url(), "key")
            assert str(directory) not in server.url()

    def test_an_odd_path_survives_the_way_into_the_url(
        self, directory: Path, programs: dict[str, Path]
    ) -> None:
        with EmbeddedRedis(directory / "100% odd?#", programs["redis"]) as server:
            put(server.url(), "key")
            assert has(server.url(), "key")
