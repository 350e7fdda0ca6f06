"""The devices: a process that is never killed and writes down every answer that it is given.

    python -m tests.chaos.load ORDER.json

A device sends a transaction and asks again with the same key until it is answered, as tills do;
a few lose patience when their connection breaks, and a few ask again what they know already.
A fifth of all answers, and every one that was not had, is told in the device's journal.
`{"do":"stop"}` ends new transactions; when everything is answered and every journal is told (or
`PATIENCE_S` later) it says how it went and ends.
"""

import asyncio
import base64
import heapq
import itertools
import ssl
import sys
import time
from pathlib import Path
from typing import Final
from uuid import uuid4

import msgspec
import numpy as np

from infrastructure.edge.listeners import new_event_loop
from tests.chaos.children import stdin_lines, tell
from tests.chaos.journal import Answered, GaveUp, Journal, Refused
from tests.chaos.keeping import KeptJournal
from tests.chaos.wire import Lost, NotSent, Reply, Wire

PATH: Final = "/v1/device/transactions"
PATIENCE_S: Final = 240.0
"""How long the last answers and journal lines may take; a key that the vendor failed takes a
minute."""

PAUSE_S: Final = 0.1
GIVE_UP: Final = 0.03
ASK_AGAIN: Final = 0.05
JOURNALED: Final = 0.2
STRANGERS: Final = 0.04
"""The share of palms that nobody enrolled."""


class Till(msgspec.Struct, frozen=True, kw_only=True):
    """A paired device and its files."""

    device: str
    certificate: str
    key: str


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends how much to where. `rate` is transactions a second over all devices.

    A device that has no answer within `patience_s` goes on to the next of the `ports`.
    """

    ports: tuple[int, ...]
    patience_s: float
    ca_file: str
    tills: tuple[Till, ...]
    lanes: int
    rate: float
    palms: tuple[bytes, ...]
    deadline_ms: int
    journal: str
    seed: int


class Pending(msgspec.Struct, kw_only=True, eq=False):
    """A transaction of a device, from its first sending to its answer."""

    key: str
    body: bytes
    sends: int = 0
    answered: bool = False


class Device:
    """What all lanes of one device share: what is unanswered, and what was answered lately."""

    def __init__(self, till: Till, load: "Load") -> None:
        self._till = till
        self._load = load
        self._due: list[tuple[float, int, Pending]] = []
        self._known: list[Pending] = []
        self._order = itertools.count()
        self.open = 0
        self.kept = KeptJournal(till.device, load.journal, load.chance)
        self._tls = ssl.create_default_context(cafile=load.order.ca_file)
        self._tls.load_cert_chain(till.certificate, till.key)

    async def keep(self) -> None:
        """Tell the platform what became of answers."""
        wire = self._wire(0)
        await self.kept.keep(wire, lambda: self._load.stopping and not self.open)

    def _wire(self, number: int) -> Wire:
        order = self._load.order
        return Wire(order.ports, number, self._tls, order.patience_s)

    async def lane(self, number: int) -> None:
        """One customer after the other, at the pace of the order."""
        order = self._load.order
        interval = order.lanes * len(order.tills) / order.rate
        wire = self._wire(number)
        while self.open or not self._load.stopping:
            began = time.monotonic()
            pending = self._next(began)
            if pending is not None:
                await self._attempt(wire, pending)
            await asyncio.sleep(max(0.0, began + interval - time.monotonic()))
        wire.drop()

    def _next(self, now: float) -> Pending | None:
        if self._due and self._due[0][0] <= now:
            return heapq.heappop(self._due)[2]
        if self._load.stopping:
            return None
        if self._known and self._load.chance(ASK_AGAIN):
            return self._known[self._load.below(len(self._known))]
        self.open += 1
        return self._load.transaction()

    async def _attempt(self, wire: Wire, pending: Pending) -> None:
        began = time.monotonic()
        try:
            pending.sends += 1
            reply = await wire.post(PATH, pending.body)
        except NotSent:
            pending.sends -= 1
            self._again(pending, PAUSE_S)
        except Lost:
            if not pending.answered and self._load.chance(GIVE_UP):
                await self._load.journal.write(GaveUp(self._till.device, pending.key))
                self.kept.gave_up(pending.key)
                self.open -= 1
            else:
                self._again(pending, PAUSE_S)
        else:
            await self._told(pending, reply, round((time.monotonic() - began) * 1000, 1))

    async def _told(self, pending: Pending, reply: Reply, ms: float) -> None:
        device, key, sends = self._till.device, pending.key, pending.sends
        if reply.status == 200:
            again, pending.answered = pending.answered, True
            replayed = "idempotent-replayed" in reply.headers
            # Before anything else: from here on the platform owes us this answer.
            await self._load.journal.write(
                Answered(device, key, sends, replayed, again, reply.body.decode(), ms, time.time())
            )
            if not again:
                if self._load.chance(JOURNALED):
                    self.kept.told(key, reply.body)
                self.open -= 1
                self._known = [*self._known[-200:], pending]
            return
        problem = msgspec.json.decode(reply.body, type=dict[str, object])
        code = str(problem.get("code"))
        await self._load.journal.write(
            Refused(device, key, sends, reply.status, code, ms, time.time())
        )
        self._again(pending, min(1.0, float(reply.headers.get("retry-after", "1"))))

    def _again(self, pending: Pending, pause_s: float) -> None:
        if pending.answered:
            return
        heapq.heappush(self._due, (time.monotonic() + pause_s, next(self._order), pending))


class Load:
    """All devices, and the dice."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.journal = Journal(Path(order.journal))
        self.stopping = False
        self._random = np.random.default_rng(order.seed)
        self._devices = [Device(till, self) for till in order.tills]
        known = [base64.b64encode(palm).decode() for palm in order.palms]
        self._known = [_scan(rgb) for rgb in known]
        self._stranger = _scan(base64.b64encode(b"a palm that nobody enrolled").decode())

    def chance(self, share: float) -> bool:
        return bool(self._random.random() < share)

    def below(self, end: int) -> int:
        return int(self._random.integers(end))

    def transaction(self) -> Pending:
        """A fresh palm under a fresh key; a repeat sends the same bytes."""
        scan = (
            self._stranger if self.chance(STRANGERS) else self._known[self.below(len(self._known))]
        )
        key = uuid4().hex
        asked = {
            "idempotency_key": key,
            "scan": scan,
            "context": {"amount": "5.00", "currency": "SAR", "order_id": key[:8]},
            "deadline_ms": self.order.deadline_ms,
        }
        return Pending(key=key, body=msgspec.json.encode(asked))

    async def run(self) -> None:
        lanes = [
            asyncio.create_task(device.lane(number))
            for device in self._devices
            for number in range(self.order.lanes)
        ]
        lanes += [asyncio.create_task(device.keep()) for device in self._devices]
        tell({"event": "started"})
        await self._until_stopped()
        self.stopping = True
        _, late = await asyncio.wait(lanes, timeout=PATIENCE_S)
        for lane in late:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)
        for lane in lanes:
            if not lane.cancelled():
                lane.result()
        tell(
            {
                "unanswered": sum(device.open for device in self._devices),
                "journals_left": sum(device.kept.left for device in self._devices),
            }
        )

    async def _until_stopped(self) -> None:
        """Also when the harness is no more: then its end of the pipe is closed."""
        await (await stdin_lines()).readline()


def _scan(rgb: str) -> dict[str, str]:
    return {"format": "biowave.rgb_ir.v1", "rgb": rgb, "ir": rgb, "hand": "left"}


def main() -> None:
    order = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Order)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(Load(order).run())


if __name__ == "__main__":
    main()
