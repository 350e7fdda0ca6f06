"""The load of `token`: keep-alive TLS connections that get a token and ask about it, in turns.

    python -m benchmarks.token_load < order.json

A process of its own. Every request proves its client by an assertion that was never shown before,
signed here while it runs; the servers' CPU time is read at both ends of the window that it counts.
"""

import asyncio
import re
import ssl
import sys
import time
from collections.abc import Mapping
from itertools import count
from typing import Final
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import msgspec

from benchmarks.processes import children, cpu_seconds
from infrastructure.edge.listeners import new_event_loop
from infrastructure.keys.signing_keys import SigningKey

JWT_BEARER: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
ANSWER_S: Final = 30.0


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to do. `watch` names process ids; those in `families` count with their children."""

    issuer: str
    token_path: str
    introspection_path: str
    ca_file: str
    clients: list[str]
    key_pem: str
    connections: int
    seconds: float
    warm_up_s: float
    watch: Mapping[str, int]
    families: Mapping[str, int] = {}


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it; a token and its introspection are two requests."""

    per_core_s: float
    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: Mapping[str, float]
    errors: int
    first_error: str


class Load:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._key = SigningKey.from_pem(order.key_pem.encode())
        self._number = count()
        self._run = uuid4().hex
        self._address = urlsplit(order.issuer)
        self._tls = ssl.create_default_context(cafile=order.ca_file)
        self.running, self.counting = True, False
        self.latencies: list[float] = []
        self.errors: list[str] = []

    async def work(self) -> None:
        """One connection, until the time is up or an answer is not what was asked for."""
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self._address.port, ssl=self._tls, server_hostname="localhost"
            )
            try:
                while self.running:
                    await self._pair(reader, writer)
            finally:
                writer.close()
        except (ValueError, KeyError, OSError, TimeoutError, EOFError) as error:
            self.errors.append(f"{type(error).__name__}: {error}"[:300])
            self.running = False

    async def _pair(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Get a token and ask about it. Raises ValueError when it is not good."""
        form = {"grant_type": "client_credentials", "scope": "devices:read"}
        got = await self._ask(reader, writer, self._order.token_path, form)
        about = {"token": str(got["access_token"])}
        told = await self._ask(reader, writer, self._order.introspection_path, about)
        if told["active"] is not True:
            raise ValueError("a token that was just issued is not good")

    async def _ask(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        path: str,
        form: Mapping[str, str],
    ) -> dict[str, object]:
        body = urlencode({**form, **self._proof()}).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._address.netloc}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        began = time.perf_counter()
        async with asyncio.timeout(ANSWER_S):
            writer.write(head.encode() + body)
            answered = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(answered)
            if length is None:
                raise ValueError(f"no length: {answered[:200]!r}")
            content = await reader.readexactly(int(length[1]))
        if self.counting:
            self.latencies.append(time.perf_counter() - began)
        if answered[9:12] != b"200":
            raise ValueError(f"{answered[:40]!r} {content[:200]!r}")
        return msgspec.json.decode(content, type=dict[str, object])

    def _proof(self) -> dict[str, str]:
        number, now = next(self._number), int(time.time())
        client = self._order.clients[number % len(self._order.clients)]
        claims = {
            "iss": client,
            "sub": client,
            "aud": self._order.issuer,
            "iat": now,
            "exp": now + 60,
            "jti": f"{self._run}{number}",
        }
        return {
            "client_id": client,
            "client_assertion_type": JWT_BEARER,
            "client_assertion": self._key.sign("JWT", claims),
        }


async def run(order: Order) -> Outcome:
    load = Load(order)
    async with asyncio.TaskGroup() as group:
        for _ in range(order.connections):
            group.create_task(load.work())
        await asyncio.sleep(order.warm_up_s)
        load.counting, began, before = True, time.perf_counter(), _spent(order)
        await asyncio.sleep(order.seconds)
        load.counting, took, after = False, time.perf_counter() - began, _spent(order)
        load.running = False
    answers = len(load.latencies)
    spent = {name: after[name] - before[name] for name in after}
    latencies = sorted(load.latencies) or [0.0]
    return Outcome(
        per_core_s=round(answers / max(sum(spent.values()), 0.01), 1),
        per_s=round(answers / took, 1),
        p50_ms=round(latencies[len(latencies) // 2] * 1000, 2),
        p99_ms=round(latencies[int(len(latencies) * 0.99)] * 1000, 2),
        cpu_us={name: round(s / max(answers, 1) * 1e6, 1) for name, s in spent.items()},
        errors=len(load.errors),
        first_error=load.errors[0] if load.errors else "",
    )


def _spent(order: Order) -> dict[str, float]:
    """CPU seconds of every server so far."""
    alone = {name: cpu_seconds(pid) for name, pid in order.watch.items()}
    whole = {
        name: cpu_seconds(pid) + sum(cpu_seconds(child) for child in children(pid))
        for name, pid in order.families.items()
    }
    return alone | whole


def main() -> None:
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        print(msgspec.json.encode(runner.run(run(order))).decode(), flush=True)


if __name__ == "__main__":
    main()
