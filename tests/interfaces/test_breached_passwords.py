"""Breached passwords are looked up where the environment says, and what fails is counted."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from infrastructure.metrics import Metrics
from infrastructure.passwords.ranges import sha1
from interfaces.breach_settings import FILE, URL, read_breach_settings
from interfaces.breached_passwords import breached_passwords
from interfaces.environment import Environment, SettingsInvalid
from tests.infrastructure.outbound.scripted_server import response, scripted

PASSWORD = "correct horse battery staple"


@pytest.mark.parametrize(
    ("variables", "development"),
    [
        ({URL: "http://127.0.0.1/range/"}, False),
        ({URL: "https://ranges.example/range"}, True),
        ({URL: "https://ranges.example/range/?x=/"}, True),
        ({FILE: "/nowhere/at/all"}, True),
        ({FILE: __file__}, True),
    ],
)
def test_what_is_no_place_to_look_is_refused_at_the_start(
    variables: dict[str, str], development: bool
) -> None:
    env = Environment(variables)
    read_breach_settings(env, development=development)
    with pytest.raises(SettingsInvalid, match=next(iter(variables))):
        env.finish()


async def test_list_file_and_service_are_asked_and_what_fails_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "sha1.txt"
    file.write_text(sha1("kept in a file for long") + "\n")
    metrics = Metrics()
    closing: list[Callable[[], Awaitable[None]]] = []
    found = response(200, f"{sha1(PASSWORD)[5:]}:1".encode())
    async with scripted(found, response(503)) as server:
        env = Environment({URL: server.url("/range/"), FILE: str(file)})
        settings = read_breach_settings(env, development=True)
        env.finish()
        known = breached_passwords(
            settings, (), development=True, metrics=metrics, at_end=closing.append
        )
        for password in ("password12345678", "kept in a file for long", PASSWORD):
            assert await known.has(password)
        assert not await known.has(PASSWORD)
        for close in closing:
            await close()
    shown = (await metrics.exposition()).decode()
    assert 'link_breach_lookups_total{outcome="found"} 1.0' in shown
    assert 'link_breach_lookups_total{outcome="failed"} 1.0' in shown
