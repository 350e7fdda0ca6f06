"""`challenge_expiry`: a challenge that nobody answered in time is ended by the workers.

A kind of delivery (`application/ports/deliveries.py`), due when the challenge runs out; nothing is
sent anywhere.
"""

from collections.abc import Sequence
from uuid import uuid5

from application.execute import execute
from application.palms.challenges import challenge_of
from application.ports import (
    Attempted,
    Clock,
    Delivered,
    Delivery,
    DeliveryPolicy,
    EventLog,
    Owed,
    Settlement,
    Waits,
)
from application.principals import Caller
from domain import palm_challenge as pc
from domain.events import DomainEvent, Recorded


class ChallengeExpiry:
    name = "challenge_expiry"
    listens_to: tuple[type[DomainEvent], ...] = (pc.PalmChallengeOpened,)
    policy = DeliveryPolicy(delays_s=(1.0, 5.0), max_age_s=100 * 365 * 86_400.0, in_flight_max=8)

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock

    async def owed(self, events: Sequence[Recorded]) -> Sequence[Owed]:
        return [
            Owed(event=recorded, destination=recorded.tenant_id, lane=recorded.stream_id)
            for recorded in events
        ]

    async def attempt(self, delivery: Delivery) -> Attempted:
        tenant_id, stream_id = delivery.tenant_id, delivery.event.stream_id
        worker = Caller(tenant_id=tenant_id, actor="system:challenges", correlation_id=delivery.id)
        left: pc.PalmChallenge | None = None

        def decide(challenge: pc.PalmChallenge | None) -> Sequence[pc.PalmChallengeEvent]:
            nonlocal left
            assert challenge is not None, "it was opened"
            events = pc.expire(challenge, self._clock.now())
            left = challenge if challenge.is_open and not events else None
            return events

        await execute(
            self._log,
            worker.origin(uuid5(stream_id, "palm_challenge.expire")),
            tenant_id,
            stream_id,
            challenge_of,
            decide,
        )
        if left is None:
            return Delivered()
        until_s = (left.opened.expires_at - self._clock.now()).total_seconds()
        return Waits(max(until_s, 1.0), holds=False)

    async def settled(self, delivery: Delivery, settlement: Settlement) -> None:
        """Nothing is left to record: the challenge has ended."""
