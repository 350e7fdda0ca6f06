"""Who is turned away, and that everything taken is given back."""

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from domain.errors import TooMany
from infrastructure.loop_lateness import LoopLateness
from interfaces.http.admission import AT_EASE, LATE_S, Admission, TenantPlaces

ACME, GLOBEX, INITECH = (UUID(int=number) for number in (1, 2, 3))


class Told:
    """What the traffic was told."""

    def __init__(self) -> None:
        self.away: list[str] = []

    def answered(self, operation: str, status: int, code: str | None, seconds: float) -> None:
        del operation, status, code, seconds
        raise AssertionError("the application tells of answers")

    def turned_away(self, why: str) -> None:
        self.away.append(why)


class Late:
    sustained_s = 0.0


class Door:
    """An admission over an application that answers when it is let to."""

    def __init__(self, *, requests_max: int = 1000, fails: bool = False) -> None:
        self.traffic, self.lateness = Told(), Late()
        self.places = TenantPlaces(1000)
        self.go = asyncio.Event()
        self.fails = fails
        self.admission = Admission(
            self._serve,
            requests_max=requests_max,
            places=self.places,
            lateness=self.lateness,
            traffic=self.traffic,
        )

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        del receive
        self.places.enter(ACME, scope["state"])
        await self.go.wait()
        if self.fails:
            raise RuntimeError("a bug")
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def ask(self) -> tuple[int, dict[str, Any], dict[bytes, bytes]]:
        said: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            said.append(dict(message))

        await self.admission({"type": "http", "state": {}}, None, send)
        body: dict[str, Any] = json.loads(said[1]["body"]) if len(said) > 1 else {}
        return said[0]["status"], body, dict(said[0]["headers"])

    async def running(self, requests: int) -> list["asyncio.Task[Any]"]:
        tasks = [asyncio.create_task(self.ask()) for _ in range(requests)]
        for _ in range(3):
            await asyncio.sleep(0)
        return tasks


async def test_a_listener_runs_so_many_requests_and_tells_the_next_to_come_again() -> None:
    door = Door(requests_max=4)
    running = await door.running(4)
    status, body, headers = await door.ask()
    assert (status, body["code"], body["retryable"]) == (503, "overloaded", True)
    assert headers[b"retry-after"] == b"1"
    assert door.traffic.away == ["full"]
    door.go.set()
    assert [status for status, _, _ in await asyncio.gather(*running)] == [200] * 4
    assert (await door.ask())[0] == 200


async def test_a_process_that_is_late_all_the_time_begins_nothing_new() -> None:
    door = Door()
    door.lateness.sustained_s = LATE_S * 2
    at_ease = await door.running(AT_EASE)
    assert (await door.ask())[0] == 503
    assert door.traffic.away == ["late"]
    door.go.set()
    assert [status for status, _, _ in await asyncio.gather(*at_ease)] == [200] * AT_EASE
    assert (await door.ask())[0] == 200


async def test_what_fails_gives_its_place_back_too() -> None:
    door = Door(requests_max=2, fails=True)
    door.go.set()
    for _ in range(5):
        with pytest.raises(RuntimeError):
            await door.ask()
    assert door.admission.running == 0


def test_a_stall_is_not_lateness() -> None:
    """A busy machine stops everybody for a second; that is no reason to refuse anybody."""
    lateness = LoopLateness()
    for late_s in (0.0, 1.5, 0.0, 0.3, 0.2):
        lateness.saw(late_s)
    assert (lateness.sustained_s, lateness.worst_s) == (0.0, 1.5)
    for _ in range(10):
        lateness.saw(0.4)
    assert lateness.sustained_s == 0.4


async def test_the_loop_is_looked_at_until_it_is_closed() -> None:
    lateness = LoopLateness(step_s=0.001)
    lateness.saw(7.0)
    lateness.start()
    async with asyncio.timeout(30):
        while lateness.worst_s == 7.0:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.001)
    await lateness.close()


def entered(places: TenantPlaces, tenant: UUID, times: int) -> list[dict[str, Any]]:
    """The states of requests that got a place, as many as there were for the tenant."""
    states: list[dict[str, Any]] = []
    for _ in range(times):
        state: dict[str, Any] = {}
        try:
            places.enter(tenant, state)
        except TooMany:
            break
        states.append(state)
    return states


def test_one_tenant_has_at_most_half_of_the_places() -> None:
    places = TenantPlaces(16)
    held = entered(places, ACME, 100)
    assert len(held) == 8
    with pytest.raises(TooMany, match="tenant_at_capacity"):
        places.enter(ACME, {})
    assert len(entered(places, GLOBEX, 4)) == 4
    places.leave(held[0])
    places.leave(held[0])
    assert len(entered(places, ACME, 100)) == 1


def test_when_it_is_crowded_each_has_an_even_part() -> None:
    """Two tenants whose products hang leave a third what it needs; by halves they would not."""
    places = TenantPlaces(16)
    hanging = len(entered(places, ACME, 100)) + len(entered(places, GLOBEX, 100))
    assert hanging == 12 + 2
    assert len(entered(places, INITECH, 2)) == 2
