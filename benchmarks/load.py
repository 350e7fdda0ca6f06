"""The load generator: keep-alive TLS connections, each asking again as soon as it has its answer.

    python -m benchmarks.load < order.json

A process of its own and lean on purpose (asyncio protocols, no HTTP library), so that it is not
what is measured. It reads the servers' CPU time at both ends of the window that it counts in.
"""

import asyncio
import re
import ssl
import sys
import time
from collections.abc import Mapping
from typing import Final, cast
from uuid import uuid4

import msgspec

from benchmarks.processes import children, cpu_seconds
from infrastructure.edge.listeners import new_event_loop

KEY: Final = b"\0key\0"
"""Where a body has this, every request has an idempotency key that was never used before."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_DRAIN_S: Final = 5.0
"""How long the last answers may take; what is not there by then counts as an error."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to do. `head` is the request line and headers, without content-length.

    `expected` must stand in every answer; what has it not, or is not 200, is an error.
    `watch` names process ids; those in `families` count together with their children.
    `reconnect` closes the connection after every answer, for a handshake each.
    """

    port: int
    ca_file: str
    certificate_file: str
    key_file: str
    head: str
    body: bytes
    expected: bytes
    connections: int
    seconds: float
    warm_up_s: float
    reconnect: bool = False
    watch: Mapping[str, int] = {}
    families: Mapping[str, int] = {}


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. Errors are counted over the whole run, warm-up and end included."""

    per_s: float
    answers: int
    errors: int
    first_error: str
    p50_ms: float
    p99_ms: float
    cpu_us: Mapping[str, float]
    """CPU time per answer, by the names that the order gave, and of this process under `load`."""


class Requests:
    """The same request again and again, each time under a key of its own."""

    def __init__(self, head: str, body: bytes) -> None:
        length = len(body.replace(KEY, b"0" * 32))
        whole = b"%bContent-Length: %d\r\n\r\n%b" % (head.encode(), length, body)
        self._pieces = whole.split(KEY)
        self._run = uuid4().hex[:16].encode()
        self._number = 0

    def request(self) -> bytes:
        self._number += 1
        return (b"%b%016x" % (self._run, self._number)).join(self._pieces)


def answered(received: bytes) -> tuple[bytes, bytes] | None:
    """Head and body of an answer once it is whole."""
    head, separator, body = received.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    if not separator or length is None or len(body) < int(length[1]):
        return None
    return head, body


class Load:
    """Counts for all connections."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.running = True
        self.counting = False
        self.latencies: list[float] = []
        self.errors = 0
        self.first_error = ""
        self.open: set[Connection] = set()
        self.connecting = 0
        self.idle = asyncio.Event()
        self.request = Requests(order.head, order.body).request
        self._tls = ssl.create_default_context(cafile=order.ca_file)
        self._tls.load_cert_chain(order.certificate_file, order.key_file)
        self._tasks: set[asyncio.Task[None]] = set()

    def connect(self) -> None:
        self.connecting += 1
        task = asyncio.get_running_loop().create_task(self._connect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: Connection(self),
                "127.0.0.1",
                self.order.port,
                ssl=self._tls,
                server_hostname="localhost",
            )
        except OSError as error:
            self.failed(f"no connection: {error}")
        self.connecting -= 1
        self._go_on()

    def answered(self, latency_s: float) -> None:
        if self.counting:
            self.latencies.append(latency_s)

    def failed(self, why: str) -> None:
        self.errors += 1
        self.first_error = self.first_error or why

    def closed(self, connection: "Connection") -> None:
        self.open.discard(connection)
        self._go_on()

    def _go_on(self) -> None:
        missing = self.order.connections - len(self.open) - self.connecting
        if self.running and self.order.reconnect:
            for _ in range(missing):
                self.connect()
        elif missing == self.order.connections:
            self.idle.set()


class Connection(asyncio.Protocol):
    """One connection and its one request under way."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._received = b""
        self._sent_at = 0.0
        self._waiting = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._load.open.add(self)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._received += data
        whole = answered(self._received)
        if whole is None:
            return
        head, body = whole
        assert self._transport is not None
        self._waiting = False
        if head[9:12] == b"200" and self._load.order.expected in body:
            self._load.answered(time.perf_counter() - self._sent_at)
        else:
            self._load.failed(f"{head[:80]!r} {body[:300]!r}")
        if self._load.running and not self._load.order.reconnect:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting:
            self._load.failed(f"the connection was lost: {exc}")
        self._load.closed(self)

    def abort(self) -> None:
        """Give up waiting."""
        assert self._transport is not None
        self._transport.abort()

    def _ask(self) -> None:
        assert self._transport is not None
        self._received = b""
        self._waiting = True
        self._sent_at = time.perf_counter()
        self._transport.write(self._load.request())


async def run(order: Order) -> Outcome:
    """Warm up, count, and wait for the last answers."""
    load = Load(order)
    ends_at = time.perf_counter() + order.warm_up_s
    for _ in range(order.connections):
        # One after the other over half the warm-up: those that begin together stay together.
        load.connect()
        await asyncio.sleep(order.warm_up_s / 2 / order.connections)
    await asyncio.sleep(ends_at - time.perf_counter())
    before, began = _cpu(order), time.perf_counter()
    load.counting = True
    await asyncio.sleep(order.seconds)
    load.counting = False
    seconds, after = time.perf_counter() - began, _cpu(order)
    load.running = False
    try:
        async with asyncio.timeout(_DRAIN_S):
            await load.idle.wait()
    except TimeoutError:
        for connection in tuple(load.open):
            connection.abort()
        await load.idle.wait()
    latencies = sorted(load.latencies)
    answers = len(latencies)
    return Outcome(
        per_s=answers / seconds,
        answers=answers,
        errors=load.errors,
        first_error=load.first_error,
        p50_ms=percentile_ms(latencies, 0.50),
        p99_ms=percentile_ms(latencies, 0.99),
        cpu_us={
            name: round((after[name] - before[name]) / answers * 1e6, 1) if answers else 0.0
            for name in before
        },
    )


def _cpu(order: Order) -> dict[str, float]:
    found = {name: cpu_seconds(pid) for name, pid in order.watch.items()}
    for name, pid in order.families.items():
        found[name] = sum(map(cpu_seconds, [pid, *children(pid)]))
    found["load"] = time.process_time()
    return found


def percentile_ms(latencies: list[float], share: float) -> float:
    """Of latencies in seconds that are in order; 0 of none."""
    if not latencies:
        return 0.0
    return round(latencies[min(len(latencies) - 1, int(len(latencies) * share))] * 1000, 2)


def main() -> None:
    """Read the order, carry it out, and print what came of it."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        outcome = runner.run(run(order))
    print(msgspec.json.encode(outcome).decode())


if __name__ == "__main__":
    main()
