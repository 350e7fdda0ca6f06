"""Worker processes are killed and frozen in the middle: nothing is lost, and order is kept.

What was owed stands in the database, what arrived is noted by this process, which nobody kills.
Both planted bugs must be found by the same look at the two; a run that does not find them says
nothing about the real thing.
"""

import asyncio
import json
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.builders import device_registered, device_revoked
from tests.infrastructure.delivery.told import rows
from tests.infrastructure.projections.watching import device_id
from tests.projections.stage import Stage

ROOT: Final = Path(__file__).parents[3]
PATIENCE_S: Final = 120.0
DEVICES: Final = 40
KILLS: Final = 6


class Receiver:
    """Notes what arrives, and is not always in the mood to accept it."""

    def __init__(self) -> None:
        self.arrived: list[tuple[str, str, int]] = []
        self.accepted: set[str] = set()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                told = json.loads(await reader.readexactly(length))
                self.arrived.append((told["id"], told["lane"], told["position"]))
                in_the_mood = len(self.arrived) % 7 != 0
                if in_the_mood:
                    self.accepted.add(told["id"])
                status = b"200 OK" if in_the_mood else b"503 Busy"
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.transport.abort()


@asynccontextmanager
async def receiving() -> AsyncGenerator[Receiver]:
    receiver = Receiver()
    handlers: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(receiver.serve(reader, writer))
        handlers.add(task)
        task.add_done_callback(handlers.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    try:
        yield receiver
    finally:
        server.close()
        for task in list(handlers):
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


class Crew:
    """The worker processes of one run."""

    def __init__(self, stage: Stage, url: str, bug: str) -> None:
        self._arguments = (stage.dsn, url, bug)
        self._all: list[Process] = []

    async def start(self) -> Process:
        module = "tests.infrastructure.delivery.worker_process"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *self._arguments, cwd=ROOT, stdin=PIPE, stdout=PIPE
        )
        self._all.append(process)
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            assert await process.stdout.readline() == b"ready\n"
        return process

    async def end(self, process: Process, number: int) -> None:
        os.kill(process.pid, number)
        async with asyncio.timeout(PATIENCE_S):
            await process.wait()

    async def close(self) -> None:
        for process in self._all:
            if process.returncode is None:
                await self.end(process, signal.SIGKILL)


@asynccontextmanager
async def scene(stage: Stage, bug: str) -> AsyncGenerator[tuple[Receiver, Crew]]:
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(receiving())
        crew = Crew(stage, receiver.url, bug)
        stack.push_async_callback(crew.close)
        yield receiver, crew


async def record(stage: Stage, first: int, last: int) -> None:
    """Two events for each device, those of all devices mixed."""
    for number in range(first, last):
        await stage.record(device_id(number), device_registered())
    for number in range(first, last):
        await stage.record(device_id(number), device_revoked())


async def until_rows(stage: Stage, query: str, count: int) -> None:
    """Wait until the query finds so many rows."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if len(await rows(stage, query)) == count:
                return
            await asyncio.sleep(0.02)


async def findings(stage: Stage, receiver: Receiver) -> set[str]:
    """Everything that is wrong between what was owed and what arrived; empty when nothing is."""
    owed = await rows(stage, "SELECT * FROM deliveries ORDER BY position")
    events = await rows(stage, "SELECT * FROM events")
    found: set[str] = set()
    if Counter(row["position"] for row in owed) != Counter(row["position"] for row in events):
        found.add("not owed")
    if {str(row["id"]) for row in owed} - receiver.accepted:
        found.add("lost")
    if {one for one, _, _ in receiver.arrived} - {str(row["id"]) for row in owed}:
        found.add("made up")
    lanes: dict[str, list[int]] = {}
    for _, lane, position in receiver.arrived:
        order = lanes.setdefault(lane, [])
        if position not in order:
            order.append(position)
    if any(order != sorted(order) for order in lanes.values()):
        found.add("out of order")
    delivered: set[str] = set()
    said = "SELECT * FROM delivery_attempts WHERE outcome IS NOT NULL ORDER BY finished_at"
    for row in await rows(stage, said):
        if str(row["delivery_id"]) in delivered:
            found.add("spoken of after it was over")
        if row["outcome"] == "delivered":
            delivered.add(str(row["delivery_id"]))
    return found


async def kill_in_the_middle(stage: Stage, bug: str) -> set[str]:
    """Two workers, one of which is killed and replaced, again and again, while there is work."""
    chance = random.Random(20261121)  # noqa: S311
    async with scene(stage, bug) as (receiver, crew):
        workers = [await crew.start(), await crew.start()]
        for kill in range(KILLS):
            before = len(receiver.arrived)
            await record(stage, kill * DEVICES, (kill + 1) * DEVICES)
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    if len(receiver.arrived) >= before + chance.randrange(5, DEVICES):
                        break
                    await asyncio.sleep(0.005)
            victim = workers.pop(chance.randrange(2))
            await crew.end(victim, signal.SIGKILL)
            workers.append(await crew.start())
        over = "SELECT id FROM deliveries WHERE state = 'delivered'"
        await until_rows(stage, over, 2 * KILLS * DEVICES)
        for worker in workers:
            await crew.end(worker, signal.SIGTERM)
        return await findings(stage, receiver)


async def freeze_in_the_middle(stage: Stage, bug: str) -> set[str]:
    """A worker stands still until its leases have run out and another has delivered all of it."""
    leased = "SELECT id FROM deliveries WHERE state = 'pending' AND lease_until IS NOT NULL"
    async with scene(stage, bug) as (receiver, crew):
        frozen = await crew.start()
        for number in range(200):
            await record(stage, number, number + 1)
            async with asyncio.timeout(PATIENCE_S):
                while not await rows(stage, leased):  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            os.kill(frozen.pid, signal.SIGSTOP)
            # A statement that was on its way when it froze may still end.
            await asyncio.sleep(0.2)
            if await rows(stage, leased):
                break
            os.kill(frozen.pid, signal.SIGCONT)
        else:
            pytest.fail("it never froze in the middle of a delivery")
        other = await crew.start()
        over = "SELECT id FROM deliveries WHERE state = 'delivered'"
        await until_rows(stage, over, 2 * (number + 1))
        os.kill(frozen.pid, signal.SIGCONT)
        await crew.end(frozen, signal.SIGTERM)
        await crew.end(other, signal.SIGTERM)
        return await findings(stage, receiver)


async def test_workers_that_are_killed_lose_nothing(stage: Stage) -> None:
    assert await kill_in_the_middle(stage, "none") == set()


async def test_an_acknowledgement_before_the_sending_is_found_out(stage: Stage) -> None:
    assert "lost" in await kill_in_the_middle(stage, "acknowledges_first")


async def test_a_worker_that_stood_still_has_nothing_more_to_say(stage: Stage) -> None:
    assert await freeze_in_the_middle(stage, "none") == set()


async def test_a_lease_without_a_fence_is_found_out(stage: Stage) -> None:
    assert "spoken of after it was over" in await freeze_in_the_middle(stage, "no_fence")
