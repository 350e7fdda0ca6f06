"""The load of `login`: keep-alive TLS connections that sign people in, one after the other.

    python -m benchmarks.login_load < order.json
    python -m benchmarks.login_load bare SECONDS COST

A process of its own. Each connection comes from an address of its own in 127.0.0.0/8, as people do
not sign in from one. `bare` is the other side of the comparison: what bcrypt alone does in as many
threads as there are cores.
"""

import asyncio
import os
import ssl
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Final
from uuid import uuid4

import bcrypt
import httpx
import msgspec

ANSWER_S: Final = 60.0


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to do. `network` is the third number of the addresses that are come from."""

    issuer: str
    ca_file: str
    tenant_id: str
    people: Sequence[str]
    password: str
    network: int
    connections: int
    seconds: float
    warm_up_s: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    per_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    first_error: str


class Load:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._tls = ssl.create_default_context(cafile=order.ca_file)
        self._number = count()
        self.running, self.counting = True, False
        self.latencies: list[float] = []
        self.errors: list[str] = []

    async def work(self, host: int) -> None:
        """One connection, until the time is up or somebody is not let in."""
        transport = httpx.AsyncHTTPTransport(
            verify=self._tls, local_address=f"127.0.{self._order.network}.{host}"
        )
        async with httpx.AsyncClient(
            transport=transport, base_url=self._order.issuer, timeout=ANSWER_S
        ) as client:
            while self.running and not self.errors:
                await self._sign_in(client)

    async def _sign_in(self, client: httpx.AsyncClient) -> None:
        people = self._order.people
        body = {
            "tenant_id": self._order.tenant_id,
            "installation": uuid4().hex,
            "email": people[next(self._number) % len(people)],
            "password": self._order.password,
        }
        began = time.perf_counter()
        answered = await client.post("/v1/auth/passwords/verify", json=body)
        if answered.status_code != 200:
            self.errors.append(f"{answered.status_code} {answered.text[:200]}")
        elif self.counting:
            self.latencies.append(time.perf_counter() - began)


async def run(order: Order) -> Outcome:
    load = Load(order)
    async with asyncio.TaskGroup() as group:
        for host in range(1, order.connections + 1):
            group.create_task(load.work(host))
        await asyncio.sleep(order.warm_up_s)
        load.counting, began = True, time.perf_counter()
        await asyncio.sleep(order.seconds)
        # At a quarter of a second each, who is on the way when the time is up counts for much.
        load.running = False
    took = time.perf_counter() - began
    latencies = sorted(load.latencies) or [0.0]
    return Outcome(
        per_s=round(len(load.latencies) / took, 3),
        p50_ms=round(latencies[len(latencies) // 2] * 1000, 1),
        p99_ms=round(latencies[int(len(latencies) * 0.99)] * 1000, 1),
        errors=len(load.errors),
        first_error=load.errors[0] if load.errors else "",
    )


def bare(seconds: float, cost: int) -> float:
    """Comparisons a second, of all cores together."""
    hashed, password = bcrypt.hashpw(b"a password", bcrypt.gensalt(cost)), b"a password"
    until = time.perf_counter() + seconds

    def work() -> int:
        done = 0
        while not done or time.perf_counter() < until:
            bcrypt.checkpw(password, hashed)
            done += 1
        return done

    began, cores = time.perf_counter(), os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as threads:
        done = sum(each.result() for each in [threads.submit(work) for _ in range(cores)])
    return round(done / (time.perf_counter() - began), 3)


def main() -> None:
    if sys.argv[1:2] == ["bare"]:
        found = msgspec.json.encode({"per_s": bare(float(sys.argv[2]), int(sys.argv[3]))})
    else:
        order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
        found = msgspec.json.encode(asyncio.run(run(order)))
    print(found.decode(), flush=True)


if __name__ == "__main__":
    main()
