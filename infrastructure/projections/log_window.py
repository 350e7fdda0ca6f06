"""The newest events of the log, read once for all read models of this process."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from domain.events import Recorded
from domain.ids import TenantId


class LogReader(Protocol):
    """Where events come from: the event log, read as link_projector."""

    async def read(self, after: int, limit: int) -> Sequence[Recorded]:
        """At most `limit` events that follow position `after`, in order, all tenants."""
        ...

    async def read_tenant(
        self, tenant_id: TenantId, after: int, up_to: int, limit: int
    ) -> Sequence[Recorded]:
        """At most `limit` events of one tenant that follow `after` and are not beyond `up_to`."""
        ...


class LogWindow:
    """A reader that keeps what it read last.

    Live read models all stand near the end of the log and ask for the same few events; those
    far behind are handed through to the log. Recorded events never change, so what is kept is
    never stale; whether there is more is always asked of the log.
    """

    def __init__(self, log: LogReader, *, events_max: int = 4096) -> None:
        self._log = log
        self._events_max = events_max
        self._kept: list[Recorded] = []
        self._end = 0
        self._reading = asyncio.Lock()

    async def read(self, after: int, limit: int) -> Sequence[Recorded]:
        """At most `limit` events that follow position `after`. Raises what the log raises."""
        kept = self._from_kept(after, limit)
        if kept:
            return kept
        if after < self._end:
            return await self._log.read(after, limit)
        async with self._reading:
            kept = self._from_kept(after, limit)
            if kept:
                return kept
            found = await self._log.read(after, limit)
            self._keep(after, found)
            return found

    async def read_tenant(
        self, tenant_id: TenantId, after: int, up_to: int, limit: int
    ) -> Sequence[Recorded]:
        """One tenant's events; handed through. Raises what the log raises."""
        return await self._log.read_tenant(tenant_id, after, up_to, limit)

    def offer(self, events: Sequence[Recorded]) -> None:
        """Consecutive events that somebody has read already: the log's tail."""
        if events:
            self._keep(events[0].position - 1, events)

    def _from_kept(self, after: int, limit: int) -> Sequence[Recorded]:
        start = after - (self._end - len(self._kept))
        if start < 0 or after >= self._end:
            return ()
        return self._kept[start : start + limit]

    def _keep(self, after: int, found: Sequence[Recorded]) -> None:
        if not found or found[-1].position != after + len(found):
            return
        if after > self._end:
            self._kept = []
            self._end = after
        self._kept.extend(found[self._end - after :])
        self._end = max(self._end, found[-1].position)
        if len(self._kept) > 2 * self._events_max:
            del self._kept[: -self._events_max]
