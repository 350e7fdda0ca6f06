"""A kind of delivery whose receiver is a list, and an engine in a hurry."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID, uuid5

from application.ports import (
    Attempted,
    Delivered,
    Delivery,
    DeliveryPolicy,
    Owed,
    Settlement,
)
from domain.device import DeviceRegistered
from domain.events import DomainEvent, Recorded
from infrastructure.delivery.engine import DeliveryEngine, EnginePace
from infrastructure.delivery.follower import FollowerPace
from infrastructure.delivery.worker import WorkerPace
from tests.projections.stage import PATIENCE_S, Stage

SHOP: Final = UUID("0198c000-0000-7000-8000-00000000de51")
HASTY: Final = EnginePace(
    follower=FollowerPace(live_interval_s=0.0, poll_s=0.05, store_s=0.1, halted_s=0.05),
    worker=WorkerPace(poll_s=0.02, lease_margin_s=5.0),
)
QUICK: Final = DeliveryPolicy(delays_s=(0.01,), jitter=0.0, deadline_s=10.0)

Answers = Callable[[Delivery], Awaitable[Attempted]]


async def accept(delivery: Delivery) -> Attempted:
    return Delivered(200)


class Tell:
    """Owes every registration of a device to `destinations`; what arrives is in `arrived`."""

    name = "tell"
    listens_to: tuple[type[DomainEvent], ...] = (DeviceRegistered,)

    def __init__(
        self,
        answers: Answers = accept,
        policy: DeliveryPolicy = QUICK,
        destinations: Sequence[UUID] = (SHOP,),
        lane: Callable[[Recorded], UUID] = lambda recorded: recorded.stream_id,
    ) -> None:
        self._answers = answers
        self._destinations = destinations
        self._lane = lane
        self._policy = policy
        self.arrived: list[Delivery] = []
        self.settlements: list[tuple[UUID, Settlement]] = []
        self.unsettled = 0
        self.asked = 0

    @property
    def policy(self) -> DeliveryPolicy:
        return self._policy

    async def owed(self, events: Sequence[Recorded]) -> Sequence[Owed]:
        self.asked += len(events)
        return [
            Owed(event=each, destination=where, lane=uuid5(where, str(self._lane(each))))
            for each in events
            for where in self._destinations
        ]

    async def attempt(self, delivery: Delivery) -> Attempted:
        self.arrived.append(delivery)
        return await self._answers(delivery)

    async def settled(self, delivery: Delivery, settlement: Settlement) -> None:
        if self.unsettled:
            self.unsettled -= 1
            raise RuntimeError("the log is away")
        self.settlements.append((delivery.id, settlement))


class Script:
    """Answers in turn, the last one for ever."""

    def __init__(self, *answers: Attempted) -> None:
        self._answers = list(answers)

    async def __call__(self, _: Delivery) -> Attempted:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@asynccontextmanager
async def delivering(stage: Stage, *kinds: Tell) -> AsyncGenerator[DeliveryEngine]:
    async with DeliveryEngine(stage.dsn, stage.log, kinds, pace=HASTY, chance=lambda: 0.5) as it:
        yield it


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what must come to be, and fail when it does not."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


async def states(stage: Stage) -> list[tuple[str, str | None]]:
    """State and reason of every delivery, in the order of the log."""
    return [
        (row["state"], row["reason"])
        for row in await rows(stage, "SELECT * FROM deliveries ORDER BY position, destination")
    ]


async def until_over(stage: Stage, count: int) -> None:
    """Wait until so many deliveries are over, and no other is pending."""

    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = [state for state, _ in await states(stage)]
            if len(found) == count and "pending" not in found:
                return
            await asyncio.sleep(0.01)


async def rows(stage: Stage, query: str) -> list[dict[str, Any]]:
    async with stage.projector.connection() as connection:
        cursor = await connection.execute(query.encode())
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]


async def change(stage: Stage, statement: str) -> int:
    """Move what only time would move otherwise: a lease, a due date, an age."""
    async with stage.projector.connection() as connection:
        return (await connection.execute(statement.encode())).rowcount
