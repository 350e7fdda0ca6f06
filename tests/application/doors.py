"""Doors to the log with a fault built in: what the tests must catch, to be worth something."""

from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

import msgspec

from application.ports import Appended
from domain.events import DomainEvent, Origin, Recorded, StreamAppend
from domain.ids import TenantId
from tests.application.memory_log import MemoryEventLog

S = TypeVar("S")


class Door:
    """The log as it is; a subclass changes how it is appended to."""

    def __init__(self, log: MemoryEventLog) -> None:
        self.log = log

    async def load(self, tenant_id: TenantId, stream_id: UUID) -> Sequence[Recorded]:
        return await self.log.load(tenant_id, stream_id)

    async def state(
        self, tenant_id: TenantId, stream_id: UUID, rebuild: Callable[[Sequence[Recorded]], S]
    ) -> S:
        return await self.log.state(tenant_id, stream_id, rebuild)

    async def append(self, origin: Origin, appends: Sequence[StreamAppend]) -> Appended:
        return await self.log.append(origin, appends)


class WriteBehind(Door):
    """Answers at once for submissions with `late`, and commits them when something else is
    appended: what a broker sees that does not wait for a commit."""

    def __init__(self, log: MemoryEventLog, late: type[DomainEvent]) -> None:
        super().__init__(log)
        self._late = late
        self._held: list[tuple[Origin, Sequence[StreamAppend]]] = []

    async def append(self, origin: Origin, appends: Sequence[StreamAppend]) -> Appended:
        if any(isinstance(event, self._late) for part in appends for event in part.events):
            self._held.append((origin, appends))
            return Appended(first_position=0, last_position=0)
        for held in self._held:
            self.log.record(*held)
        return await super().append(origin, appends)


class FenceOpen(Door):
    """Takes no notice of what must not have begun (decision 38)."""

    async def append(self, origin: Origin, appends: Sequence[StreamAppend]) -> Appended:
        unfenced = [msgspec.structs.replace(part, unless_begun=None) for part in appends]
        return await self.log.append(origin, unfenced)


class Unfenced(Door):
    """Does not compare versions: everybody's events are taken, one after the other."""

    async def append(self, origin: Origin, appends: Sequence[StreamAppend]) -> Appended:
        at_the_end = [
            msgspec.structs.replace(part, expected_version=len(self.log.stream(part.stream_id)))
            for part in appends
        ]
        return await super().append(origin, at_the_end)
