"""The open-loop load: requests come when they come, whatever became of those before.

    python -m benchmarks.open_load < order.json

Each arrival is drawn (a Poisson process), and its latency counts from the moment that it was to
come, not from when a connection was free for it: a server that stands still for a second has all
of that second's requests counted as late. Connections are kept and reused; where none is free
another is opened.
"""

import asyncio
import random
import ssl
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, cast

import msgspec

from benchmarks.load import Requests, answered, percentile_ms
from benchmarks.processes import cpu_seconds, resident_mb
from infrastructure.edge.listeners import new_event_loop

CALM: Final = (b"429", b"503")
"""Statuses by which a server says that it has too much to do."""

LATEST_S: Final = 15.0
"""When a phase is over, what is not answered by then counts as lost."""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """A device. `opened` connections stand before the first phase begins."""

    certificate_file: str
    key_file: str
    opened: int


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """So many requests a second of each caller, for so long."""

    name: str
    seconds: float
    rates: Mapping[str, float]


class OpenOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What to do. Of `watch` the memory is read at both ends of every phase and in its middle."""

    port: int
    ca_file: str
    head: str
    body: bytes
    callers: Mapping[str, Caller]
    phases: Sequence[Phase]
    watch: Mapping[str, int]


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What one caller heard in one phase. `answered` are 200s, `allowed` those of them that allow,
    `refused` 429s and 503s; the percentiles are of the 200s."""

    sent: int
    answered: int
    allowed: int
    refused: int
    errors: int
    first_error: str
    p50_ms: float
    p99_ms: float
    late_p99_ms: float
    """How late the load itself was in sending."""


class PhaseOutcome(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    heard: Mapping[str, Heard]
    memory_mb: Mapping[str, Sequence[float]]
    cpu_us: Mapping[str, float]
    """CPU time of each watched process per answer of any caller."""
    busy: Mapping[str, float]
    """The same per second of the phase, its last answers included: 1 is one core."""


class OpenOutcome(msgspec.Struct, frozen=True, kw_only=True):
    phases: Sequence[PhaseOutcome]


class _Count:
    """Of one caller in one phase."""

    def __init__(self) -> None:
        self.sent = self.allowed = self.refused = self.errors = 0
        self.first_error = ""
        self.latencies: list[float] = []
        self.lateness: list[float] = []
        self.open = 0

    def failed(self, why: str) -> None:
        self.errors += 1
        self.first_error = self.first_error or why

    def heard(self) -> Heard:
        self.errors += self.open
        if self.open:
            self.first_error = self.first_error or f"{self.open} were never answered"
        latencies, lateness = sorted(self.latencies), sorted(self.lateness)
        return Heard(
            sent=self.sent,
            answered=len(latencies),
            allowed=self.allowed,
            refused=self.refused,
            errors=self.errors,
            first_error=self.first_error,
            p50_ms=percentile_ms(latencies, 0.50),
            p99_ms=percentile_ms(latencies, 0.99),
            late_p99_ms=percentile_ms(lateness, 0.99),
        )


class _Device:
    """One caller with its connections."""

    def __init__(self, order: OpenOrder, caller: Caller) -> None:
        self._port = order.port
        self._tls = ssl.create_default_context(cafile=order.ca_file)
        self._tls.load_cert_chain(caller.certificate_file, caller.key_file)
        self._requests = Requests(order.head, order.body)
        self.free: list[_Connection] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, count: int) -> None:
        for _ in range(count):
            self.free.append(await self._connect())

    def send(self, due: float, count: _Count) -> None:
        count.sent += 1
        count.open += 1
        if self.free:
            self._go(self.free.pop(), due, count)
            return
        task = asyncio.get_running_loop().create_task(self._send_anew(due, count))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_anew(self, due: float, count: _Count) -> None:
        try:
            connection = await self._connect()
        except OSError as error:
            count.open -= 1
            count.failed(f"no connection: {error}")
            return
        self._go(connection, due, count)

    def _go(self, connection: "_Connection", due: float, count: _Count) -> None:
        count.lateness.append(time.perf_counter() - due)
        connection.ask(self._requests.request(), due, count)

    async def _connect(self) -> "_Connection":
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(self),
            "127.0.0.1",
            self._port,
            ssl=self._tls,
            server_hostname="localhost",
        )
        return connection

    def close(self) -> None:
        for connection in self.free:
            connection.abort()


class _Connection(asyncio.Protocol):
    """One request at a time; afterwards it is free for the next."""

    def __init__(self, device: _Device) -> None:
        self._device = device
        self._received = b""
        self._due = 0.0
        self._count: _Count | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes, due: float, count: _Count) -> None:
        assert self._transport is not None
        self._received, self._due, self._count = b"", due, count
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        whole, count = answered(self._received), self._count
        if whole is None or count is None:
            return
        head, body = whole
        count.open -= 1
        if head[9:12] == b"200":
            count.latencies.append(time.perf_counter() - self._due)
            count.allowed += b'"decision":"allow"' in body
        elif head[9:12] in CALM:
            count.refused += 1
        else:
            count.failed(f"{head[:80]!r} {body[:300]!r}")
        self._count = None
        self._device.free.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._count is not None:
            self._count.open -= 1
            self._count.failed(f"the connection was lost: {exc}")
            self._count = None
        if self in self._device.free:
            self._device.free.remove(self)

    def abort(self) -> None:
        assert self._transport is not None
        self._transport.abort()


async def run(order: OpenOrder) -> OpenOutcome:
    """All phases, one after the other, each with the last answers of its own."""
    devices = {name: _Device(order, caller) for name, caller in order.callers.items()}
    for name, caller in order.callers.items():
        await devices[name].open(caller.opened)
    phases = [await _phase(phase, devices, order.watch) for phase in order.phases]
    for device in devices.values():
        device.close()
    return OpenOutcome(phases=phases)


async def _phase(
    phase: Phase, devices: Mapping[str, _Device], watch: Mapping[str, int]
) -> PhaseOutcome:
    counts = {name: _Count() for name in phase.rates}
    memory = {name: [resident_mb(pid)] for name, pid in watch.items()}
    before = {name: cpu_seconds(pid) for name, pid in watch.items()}
    began = time.perf_counter()
    arrivals = [
        asyncio.create_task(_arrive(devices[name], counts[name], rate, began + phase.seconds))
        for name, rate in phase.rates.items()
    ]
    await asyncio.sleep(phase.seconds / 2)
    for name, pid in watch.items():
        memory[name].append(resident_mb(pid))
    await asyncio.gather(*arrivals)
    for name, pid in watch.items():
        memory[name].append(resident_mb(pid))
    with suppress(TimeoutError):
        async with asyncio.timeout(LATEST_S):
            while True:
                if not any(count.open for count in counts.values()):
                    break
                await asyncio.sleep(0.05)
    heard = {name: count.heard() for name, count in counts.items()}
    answers = sum(each.answered for each in heard.values())
    used = {name: cpu_seconds(pid) - before[name] for name, pid in watch.items()}
    took = time.perf_counter() - began
    return PhaseOutcome(
        name=phase.name,
        heard=heard,
        memory_mb=memory,
        cpu_us={
            name: round(seconds / answers * 1e6, 1) if answers else 0.0
            for name, seconds in used.items()
        },
        busy={name: round(seconds / took, 2) for name, seconds in used.items()},
    )


async def _arrive(device: _Device, count: _Count, rate: float, until: float) -> None:
    due = time.perf_counter()
    while due < until:
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        device.send(due, count)
        due += random.expovariate(rate)


def main() -> None:
    """Read the order, carry it out, and print what came of it."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=OpenOrder)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        outcome = runner.run(run(order))
    print(msgspec.json.encode(outcome).decode())


if __name__ == "__main__":
    main()
