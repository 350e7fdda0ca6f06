"""Breakers of several processes agree through Redis, and each manages alone while it is away."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from uuid import UUID

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from application.ports.circuits import CircuitChange
from domain.circuit import Circuit
from domain.ids import TenantId
from domain.linked_service import BreakerSettings
from infrastructure.circuits.breakers import Breakers
from infrastructure.circuits.circuit_breaker import Outcome, Permit
from infrastructure.circuits.shared_circuits import SharedCircuits
from infrastructure.clock import SystemClock
from tests.infrastructure.breaker_process import SERVICE, SETTINGS, TENANT

A, B, C = (UUID(int=number) for number in (1, 2, 3))
RUN_OF_FOUR = BreakerSettings(consecutive_failures=4, open_s=3600, open_max_s=3600)
PATIENT_S = 20.0
"""Longer than any stall of a busy machine: these tests are not of Redis being away."""


class Process:
    """What one process has of breakers."""

    def __init__(self, shared: SharedCircuits | None, settings: BreakerSettings) -> None:
        self.told: list[CircuitChange] = []
        self.breakers = Breakers(SystemClock(), shared, self.told.append)
        self.settings = settings

    async def admit(self, device: UUID) -> Permit | None:
        return await self.breakers.admit(TENANT, SERVICE, device, self.settings)

    async def call(self, outcome: Outcome, *devices: UUID) -> None:
        for device in devices:
            permit = await self.admit(device)
            assert permit is not None
            permit.settle(outcome)
            await self.breakers.settled()

    async def until_refused(self, device: UUID) -> None:
        async with asyncio.timeout(30):
            while await self.admit(device) is not None:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.05)

    async def probe(self, device: UUID) -> Permit:
        """The permit of a circuit that is open, once it is half open."""
        async with asyncio.timeout(30):
            while (permit := await self.admit(device)) is None:  # noqa: ASYNC110 - only time
                await asyncio.sleep(0.05)
            return permit


Processes = Callable[..., Process]


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_url)
    await client.flushdb()
    yield client
    await client.flushdb()
    await client.aclose()


@pytest.fixture
async def processes(redis: Redis, redis_url: str) -> AsyncIterator[Processes]:
    opened: list[Process] = []

    def another(settings: BreakerSettings = RUN_OF_FOUR, *, shares: bool = True) -> Process:
        shared = SharedCircuits(redis_url, patience_s=PATIENT_S) if shares else None
        opened.append(Process(shared, settings))
        return opened[-1]

    yield another
    for process in opened:
        await process.breakers.close()


async def test_failures_in_several_processes_open_one_circuit(processes: Processes) -> None:
    one, other = processes(), processes()
    await one.call("failed", A, A)
    await other.call("failed", B, B)
    assert other.breakers.states()["open"] == 1
    await one.until_refused(C)
    told = [*one.told, *other.told]
    assert [(each.before, each.after, each.openings) for each in told] == [("closed", "open", 1)]
    assert told[0].devices == 2
    assert told[0].failures.authorize_timeout == 4


@pytest.mark.parametrize("shares", [True, False])
async def test_a_slow_device_with_a_process_to_itself_opens_nothing(
    processes: Processes, shares: bool
) -> None:
    """To its own process it seems alone, and a device that is alone counts in full: without
    sharing (the planted bug) its fourth failure opens the circuit."""
    one, other = processes(shares=shares), processes(shares=shares)
    await other.call("answered", B)
    await other.call("failed", B)
    for _ in range(4):
        permit = await one.admit(A)
        assert permit is not None
        permit.settle("failed")
        await one.breakers.settled()
    assert one.breakers.states()["open"] == (0 if shares else 1)


async def test_what_one_process_finds_out_of_a_product_that_is_back_holds_for_all(
    processes: Processes,
) -> None:
    one, other = processes(SETTINGS), processes(SETTINGS)
    await one.call("failed", A)
    probe = await other.probe(B)
    probe.settle("answered")
    await other.breakers.settled()
    await one.call("answered", B)
    await other.call("answered", B)
    async with asyncio.timeout(30):
        while one.breakers.states()["closed"] == 0:
            await one.breakers.read(TENANT, SERVICE, SETTINGS)
            await asyncio.sleep(0.05)
    assert other.breakers.states()["closed"] == 1
    assert [each.after for each in [*one.told, *other.told]].count("open") == 1
    assert "closed" in [each.after for each in [*one.told, *other.told]]


async def probes_of_two_processes(redis_url: str, kind: str) -> int:
    """How many of 2 x 20 calls at once get a permit of a circuit that gives three."""
    running = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.infrastructure.breaker_process"),
            *(kind, redis_url, "20", str(number)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for number in (11, 12)
    ]
    for process in running:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    answers = await asyncio.gather(*(process.communicate(b"go\n") for process in running))
    return sum(int(out) for out, _ in answers)


async def test_probes_are_counted_over_all_processes(processes: Processes, redis_url: str) -> None:
    await processes(SETTINGS).call("failed", A)
    assert await probes_of_two_processes(redis_url, "ours") == 3


async def test_who_counts_down_what_it_read_lets_more_through(
    processes: Processes, redis: Redis, redis_url: str
) -> None:
    """The planted bug needs two processes that look at the same time, so it gets many chances."""
    for _ in range(30):
        await redis.flushdb()
        await processes(SETTINGS).call("failed", A)
        if await probes_of_two_processes(redis_url, "last_writer_wins") > 3:
            return
    pytest.fail("the planted bug was not seen")


async def test_without_redis_each_process_manages_by_itself() -> None:
    shared = SharedCircuits("redis://127.0.0.1:1/0", patience_s=PATIENT_S)
    process = Process(shared, RUN_OF_FOUR)
    with capture_logs() as lines:
        await process.call("failed", A, B, A, B)
        assert await process.admit(C) is None
    assert [line["event"] for line in lines].count("circuits_in_process") == 1
    assert [(each.after, each.openings) for each in process.told] == [("open", 1)]
    await process.breakers.close()


async def test_a_redis_that_was_emptied_is_told_again(processes: Processes, redis: Redis) -> None:
    opened = processes(SETTINGS)
    await opened.call("failed", A)
    await redis.flushdb()
    # A probe that fails is told; with it the others hear that this was the second opening.
    probe = await opened.probe(B)
    probe.settle("failed")
    await opened.breakers.settled()
    assert [each.openings for each in opened.told] == [1, 2]
    late = processes(RUN_OF_FOUR)
    await late.admit(C)
    states = late.breakers.states()
    assert states["open"] + states["half_open"] == 1


@pytest.mark.parametrize(("until_s", "state"), [(3600, "open"), (-1, "half_open")])
async def test_a_process_that_begins_recalls_how_a_circuit_stood(until_s: int, state: str) -> None:
    clock = SystemClock()

    async def recall(_: TenantId, __: UUID) -> Circuit:
        return Circuit(openings=2, open_until=clock.now() + timedelta(seconds=until_s))

    told: list[CircuitChange] = []
    breakers = Breakers(clock, None, told.append, recall)
    permit = await breakers.admit(TENANT, SERVICE, A, RUN_OF_FOUR)
    assert breakers.states()[state] == 1  # type: ignore[index]
    assert (permit is None) == (state == "open")
    if permit is not None:
        permit.settle("failed")
        assert [(each.before, each.openings) for each in told] == [("half_open", 3)]


async def test_a_closed_circuit_asks_redis_once_a_second_and_not_for_every_call(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    exchange = SharedCircuits.exchange

    async def counted(self: SharedCircuits, *args: object, **given: object) -> object:
        nonlocal asked
        asked += 1
        return await exchange(self, *args, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(SharedCircuits, "exchange", counted)
    clock = SystemClock()
    process = processes()
    began = clock.monotonic()
    for _ in range(500):
        await process.call("answered", A)
    assert asked <= 2 + (clock.monotonic() - began)


async def test_an_open_circuit_answers_without_asking_anybody(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the product nor Redis, and without giving the event loop away: what is left is
    looking up two numbers, whatever else the machine does."""
    process = processes()
    await process.call("failed", A, B, A, B)

    async def asked(*_: object, **__: object) -> None:
        raise AssertionError("an open circuit asks nobody")

    monkeypatch.setattr(SharedCircuits, "exchange", asked)
    for _ in range(1000):
        answer = process.admit(C)
        with pytest.raises(StopIteration) as said:
            answer.send(None)
        assert said.value.value is None
