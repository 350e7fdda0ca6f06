"""The delivery engine in memory: what the log owes is tried once in each round, in its order."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID, uuid5

from application.ports import (
    Attempted,
    Delivery,
    DeliveryKind,
    EventRef,
    Owed,
    RetryLater,
    Waits,
)
from domain.events import Recorded


class WholeLog(Protocol):
    def read_now(self) -> Sequence[Recorded]:
        """Everything that happened, in order."""
        ...


class Deliveries:
    """`round()` tries whatever is pending; what `attempt` raises counts as a try that failed."""

    def __init__(self, log: WholeLog, kind: DeliveryKind) -> None:
        self._log = log
        self._kind = kind
        self._over: set[UUID] = set()
        self._tries: dict[UUID, int] = {}

    async def round(self) -> list[Attempted]:
        """One try of everything that is owed and not over; what came of each."""
        found: list[Attempted] = []
        events = self._log.read_now()
        heard = [each for each in events if isinstance(each.event, self._kind.listens_to)]
        for owed in await self._kind.owed(heard):
            delivery = self._delivery(owed)
            if delivery.id in self._over:
                continue
            try:
                came = await self._kind.attempt(delivery)
            except Exception as error:
                came = RetryLater(type(error).__name__)
            found.append(came)
            if not isinstance(came, RetryLater | Waits):
                await self._kind.settled(delivery, came)
                self._over.add(delivery.id)
        return found

    def _delivery(self, owed: Owed) -> Delivery:
        event = owed.event
        delivery_id = uuid5(event.stream_id, f"{event.version}:{owed.destination}")
        self._tries[delivery_id] = self._tries.get(delivery_id, 0) + 1
        return Delivery(
            id=delivery_id,
            kind=self._kind.name,
            tenant_id=event.tenant_id,
            destination=owed.destination,
            lane=owed.lane,
            event=EventRef(
                id=uuid5(event.stream_id, f"event:{event.version}"),
                name=event.event.NAME,
                stream_id=event.stream_id,
                stream_version=event.version,
                position=event.position,
                recorded_at=event.recorded_at,
            ),
            attempt=self._tries[delivery_id],
            owed_at=event.recorded_at,
            failing_since=None,
        )
