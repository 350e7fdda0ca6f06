"""A process that is told to end finishes what it has begun: no transaction fails of it."""

import asyncio
import json
import os
import signal
import ssl
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.house.test_bulkheads import PALM, lane
from tests.house.test_revocation import free_port, url_of
from tests.house.world import House, opened, transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60
TRANSACTIONS = 8

AS_IT_IS = "import sys; from interfaces.cli import main; sys.argv[0] = 'link-identity'; main()"
WITHOUT_DRAIN = f"import interfaces.process; interfaces.process.DRAIN_S = 0.0; {AS_IT_IS}"


@asynccontextmanager
async def edge(
    house: House, database: str, redis_url: str, program: str
) -> AsyncGenerator[tuple[Process, int]]:
    """A process of its own that serves devices; `program` is its main module."""
    port = free_port()
    environment = {
        **os.environ,
        "LINK_DATABASE_URL": url_of(database),
        "LINK_REDIS_URL": redis_url,
        "LINK_DATA_DIR": str(house.platform.settings.data_dir),
        "LINK_DEVELOPMENT": "true",
        "LINK_DEVICE_PORT": str(port),
        "LINK_PALM_VENDOR_URL": house.platform.settings.palm_vendor_url,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, "serve", "edge", "--json"),
        cwd=ROOT,
        env=environment,
        stdout=PIPE,
        stderr=PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
        assert line, (await process.stderr.read()).decode()[-2000:]
        assert msgspec.json.decode(line)["device"].endswith(f":{port}")
        yield process, port
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.wait_for(process.communicate(), PATIENCE_S)


async def until_refused(port: int) -> None:
    """Return when nobody listens there any more."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.02)


async def ended_in_the_middle(
    house: House, database: str, redis_url: str, program: str
) -> tuple[list[httpx.Response | BaseException], int | None]:
    """What became of transactions that waited for their product when SIGTERM came."""
    till = await lane(house, "+966501234567")
    decide, waiting = asyncio.Event(), asyncio.Semaphore(0)

    async def slow(_: dict[str, Any]) -> tuple[int, bytes]:
        waiting.release()
        await decide.wait()
        return 200, json.dumps(house.product.says).encode()

    house.product.script = slow
    async with edge(house, database, redis_url, program) as (process, port):
        trust: ssl.SSLContext = till.trust
        elsewhere = await house.client(f"https://localhost:{port}", verify=trust)
        running = [
            asyncio.create_task(
                elsewhere.post(
                    "/v1/device/transactions", json=transaction(PALM, deadline_ms=10_000)
                )
            )
            for _ in range(TRANSACTIONS)
        ]
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(TRANSACTIONS):
                await waiting.acquire()
        process.send_signal(signal.SIGTERM)
        await until_refused(port)
        decide.set()
        answers = await asyncio.gather(*running, return_exceptions=True)
        return answers, await asyncio.wait_for(process.wait(), PATIENCE_S)


async def test_every_transaction_that_was_begun_is_answered(
    database: str, tmp_path: Path, redis_url: str
) -> None:
    async with opened(database, tmp_path) as house:
        answers, code = await ended_in_the_middle(house, database, redis_url, AS_IT_IS)
        decided = [
            answer.json()["decision"]
            for answer in answers
            if isinstance(answer, httpx.Response) and answer.status_code == 200
        ]
        assert len(decided) == TRANSACTIONS, answers
        assert code == 0


async def test_without_the_drain_they_are_lost(
    database: str, tmp_path: Path, redis_url: str
) -> None:
    """The planted bug, which the test above must be able to see."""
    async with opened(database, tmp_path) as house:
        answers, _ = await ended_in_the_middle(house, database, redis_url, WITHOUT_DRAIN)
        assert [answer for answer in answers if isinstance(answer, httpx.TransportError)]
