"""One worker process: `python -m tests.infrastructure.delivery.worker_process DSN URL BUG`.

It delivers registrations and revocations of devices to URL until SIGTERM, or until its standard
input ends. The road there is slow, so that most of its life is spent between a claim and the
receipt. BUG is `none`, or what is planted:

    acknowledges_first   a delivery counts as delivered before it is sent
    no_fence             whoever comes last says how it went
"""

import asyncio
import os
import random
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final
from unittest.mock import patch

import msgspec
import structlog

from application.ports import Attempted, Delivered, Delivery, DeliveryPolicy, Owed, RetryLater
from domain.catalogue import EVENTS, UPCASTERS
from domain.device import DeviceRegistered, DeviceRevoked
from domain.events import DomainEvent, Recorded
from infrastructure.delivery import outbox
from infrastructure.delivery.engine import DeliveryEngine, EnginePace
from infrastructure.delivery.follower import FollowerPace
from infrastructure.delivery.outbox import Leased
from infrastructure.delivery.worker import DeliveryWorker, WorkerPace
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.event_log.mapper import EventMapper
from infrastructure.outbound.client import OutboundClient, OutboundFailed
from tests.infrastructure.delivery.told import SHOP
from tests.infrastructure.outbound.clients import loopback_client

PACE = EnginePace(
    follower=FollowerPace(live_interval_s=0.0, poll_s=0.05, store_s=0.1, frozen_s=4.0),
    worker=WorkerPace(poll_s=0.05, lease_margin_s=1.0),
)


class Post:
    """Sends each event's id and place as JSON."""

    name = "post"
    listens_to: tuple[type[DomainEvent], ...] = (DeviceRegistered, DeviceRevoked)
    policy = DeliveryPolicy(
        delays_s=(0.05, 0.2), deadline_s=2.0, in_flight_max=16, per_destination_max=16
    )

    def __init__(self, client: OutboundClient, url: str) -> None:
        self._client = client
        self._url = url
        self._road = random.Random(os.getpid())  # noqa: S311

    async def owed(self, events: Sequence[Recorded]) -> Sequence[Owed]:
        return [Owed(event=each, destination=SHOP, lane=each.stream_id) for each in events]

    async def attempt(self, delivery: Delivery) -> Attempted:
        await asyncio.sleep(self._road.uniform(0.0, 0.06))
        told = {
            "id": str(delivery.id),
            "lane": str(delivery.lane),
            "position": delivery.event.position,
        }
        try:
            answer = await self._client.request(
                "POST",
                self._url,
                headers={"Content-Type": "application/json"},
                body=msgspec.json.encode(told),
                deadline_s=2.0,
                max_bytes=1024,
            )
        except OutboundFailed as failed:
            return RetryLater(failed.kind)
        return Delivered(200) if answer.status == 200 else RetryLater("busy", answer.status)

    async def settled(self, delivery: Delivery, settlement: Any) -> None:
        """The receiver keeps the book."""


class AcknowledgesFirst(DeliveryWorker):
    """Planted: an acknowledgement costs nothing, so it is written while the request is made."""

    async def _deliver(self, leased: Leased) -> None:
        await self._record(leased.delivery, Delivered(200), 0.0)
        await self._attempt(leased.delivery)


_FENCE: Final = re.compile(
    r"AND attempts = %\(attempt\)s AND state = 'pending'\s+AND lease_until IS NOT NULL"
)


def without_fence(statement: str) -> str:
    """Planted: the statement without the conditions that tell whose delivery it is."""
    unfenced, fences = _FENCE.subn("", statement)
    assert fences == 1
    return unfenced


async def main(dsn: str, url: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.run_in_executor(None, lambda: (sys.stdin.read(), loop.call_soon_threadsafe(stop.set)))
    log = await PostgresEventLog.open(dsn, EventMapper(EVENTS, UPCASTERS))
    client = loopback_client()
    try:
        async with DeliveryEngine(dsn, log, [Post(client, url)], pace=PACE):
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            await stop.wait()
    finally:
        await client.close()
        await log.close()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    _, dsn, url, bug = sys.argv
    # Nobody reads our standard output once we are ready: it would fill, and we would wait for ever.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    planted: dict[tuple[str, str], Any] = {}
    if bug == "acknowledges_first":
        planted["infrastructure.delivery.engine", "DeliveryWorker"] = AcknowledgesFirst
    if bug == "no_fence":
        for name in ("_FINISH", "_RENEW"):
            planted[outbox.__name__, name] = without_fence(getattr(outbox, name))
    with ExitStack() as stack:
        for (module, name), value in planted.items():
            stack.enter_context(patch.object(sys.modules[module], name, value))
        asyncio.run(main(dsn, url))
