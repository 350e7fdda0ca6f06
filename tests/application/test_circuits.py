"""Changes of circuits reach the log once, in order, and after the log was away."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from application.ports import CommitFailed
from application.ports.circuits import CircuitChange
from application.transactions.circuits import Circuits
from domain.circuit import CircuitOpened, FailureCounts
from domain.ids import circuit_id
from infrastructure.circuits.circuit_notes import CircuitNotes
from infrastructure.ids import RandomIds
from tests.application.hand_clock import HandClock
from tests.application.memory_log import MemoryEventLog
from tests.builders import SERVICE
from tests.spec import TENANT

OPENED = CircuitChange(
    tenant_id=TENANT,
    service_id=SERVICE,
    before="closed",
    after="open",
    open_s=10.0,
    openings=1,
    failures=FailureCounts(connect_error=4),
    devices=2,
)
CLOSED = CircuitChange(tenant_id=TENANT, service_id=SERVICE, before="half_open", after="closed")


class Bench:
    def __init__(self) -> None:
        clock = HandClock()
        self.log = MemoryEventLog(clock)
        self.circuits = Circuits(self.log, RandomIds(clock))
        self.failures = 0
        self.noted = 0
        self.changed = asyncio.Event()

    async def note(self, change: CircuitChange) -> None:
        if self.failures:
            self.failures -= 1
            raise CommitFailed("the log is away")
        await self.circuits.note(change)
        self.noted += 1
        self.changed.set()

    async def until_noted(self, number: int) -> None:
        async with asyncio.timeout(30):
            while self.noted < number:
                self.changed.clear()
                await self.changed.wait()

    def names(self) -> list[str]:
        return [each.event.NAME for each in self.log.read_now()]


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
async def notes(bench: Bench) -> AsyncIterator[CircuitNotes]:
    async with CircuitNotes(bench.note, again_s=0.001) as opened:
        yield opened


async def test_what_several_processes_saw_is_noted_once(bench: Bench, notes: CircuitNotes) -> None:
    for change in (OPENED, OPENED, CLOSED, CLOSED):
        notes.tell(change)
    await bench.until_noted(4)
    assert bench.names() == ["linked_service.circuit_opened", "linked_service.circuit_closed"]
    opened = bench.log.read_now()[0]
    assert (opened.actor, opened.stream_id) == ("system:breaker", circuit_id(SERVICE))
    assert isinstance(opened.event, CircuitOpened)
    assert (opened.event.devices, opened.event.failures.connect_error) == (2, 4)


async def test_a_log_that_is_away_delays_a_note_and_does_not_lose_it(
    bench: Bench, notes: CircuitNotes
) -> None:
    bench.failures = 3
    notes.tell(OPENED)
    notes.tell(CLOSED)
    await bench.until_noted(2)
    assert bench.names() == ["linked_service.circuit_opened", "linked_service.circuit_closed"]


async def test_how_a_circuit_stood_is_recalled_from_the_log(bench: Bench) -> None:
    assert await bench.circuits.recall(TENANT, SERVICE) is None
    await bench.circuits.note(OPENED)
    recalled = await bench.circuits.recall(TENANT, SERVICE)
    assert recalled is not None
    assert recalled.openings == 1
