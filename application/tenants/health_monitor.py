"""Asks every active product and the palm vendor whether they are there (004 §10.7).

An outage is told before it meets a transaction. What is found here opens no breaker and closes
none: that is the business of the calls that count.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final

from application.ports import Clock, EventLog, IdSource, StaleStream, Streams
from application.ports.health import Due, HealthBook, HealthProbes, Probed
from domain import health as h
from domain import linked_service as ls
from domain.events import Origin, StreamAppend

ACTOR: Final = "system:health_monitor"
EVERY_S: Final = 60.0
JITTER: Final = 0.1
"""So that services registered together do not stay together for ever."""

AT_ONCE: Final = 64
PER_ROUND: Final = 2000


class HealthMonitor:
    """`round` is meant for `infrastructure/rounds.py`; done twice at once, it counts once."""

    def __init__(
        self,
        log: EventLog,
        streams: Streams,
        probes: HealthProbes,
        book: HealthBook,
        clock: Clock,
        ids: IdSource,
        chance: Callable[[], float],
    ) -> None:
        """`chance` draws evenly from 0 to 1."""
        self._log = log
        self._streams = streams
        self._probes = probes
        self._book = book
        self._clock = clock
        self._ids = ids
        self._chance = chance

    async def round(self) -> int:
        """Ask whoever it is time to ask; how many were.

        Raises CommitFailed and what the book raises. What was counted and not told is told after
        the next probe.
        """
        due = await self._book.due(self._clock.now(), PER_ROUND)
        places = asyncio.Semaphore(AT_ONCE)

        async def check(each: Due) -> bool:
            async with places:
                return await self._check(each)

        asked = await asyncio.gather(*(check(each) for each in due), return_exceptions=True)
        for one in asked:
            if isinstance(one, BaseException):
                raise one  # after the others: what one of them met is not their affair
        return sum(one is True for one in asked)

    async def _check(self, due: Due) -> bool:
        if due.subject_id == h.PALM_VENDOR:
            await self._note(due, await self._probes.palm_vendor(), _of_vendor)
            return True
        service = await self._streams.state(due.tenant_id, due.subject_id, ls.rebuild)
        if service is None or service.status != "active":
            return False
        routing = service.routing
        probed = await self._probes.product(routing.base_url.rstrip("/") + routing.health_path)
        await self._note(due, probed, lambda found, count: _of_service(service, found, count))
        return True

    async def _note(
        self, due: Due, probed: Probed, event_of: Callable[[Probed, int], h.HealthEvent]
    ) -> None:
        now = self._clock.now()
        pause_s = EVERY_S * (1 + JITTER * (2 * self._chance() - 1))
        failures = await self._book.note(due, probed, now, now + timedelta(seconds=pause_s))
        if failures is None or 0 < failures < h.UNHEALTHY_AFTER:
            return
        stream = h.health_id(due.subject_id)
        health = h.rebuild(await self._log.load(due.tenant_id, stream))
        events = h.tell(health, event_of(probed, failures))
        if events:
            append = StreamAppend(
                tenant_id=due.tenant_id,
                stream_id=stream,
                expected_version=0 if health is None else health.version,
                events=events,
            )
            fresh = self._ids.uuid()
            origin = Origin(actor=ACTOR, correlation_id=fresh, command_id=fresh)
            with suppress(StaleStream):  # somebody else has told it
                await self._log.append(origin, [append])


def _of_service(service: ls.LinkedService, probed: Probed, failures: int) -> h.HealthEvent:
    if probed.healthy:
        return h.LinkedServiceBecameHealthy(service_id=service.id, product_key=service.product_key)
    return h.LinkedServiceBecameUnhealthy(
        service_id=service.id,
        product_key=service.product_key,
        reason=probed.reason,
        consecutive_failures=failures,
    )


def _of_vendor(probed: Probed, failures: int) -> h.HealthEvent:
    if probed.healthy:
        return h.PalmVendorBecameHealthy()
    return h.PalmVendorBecameUnhealthy(reason=probed.reason, consecutive_failures=failures)
