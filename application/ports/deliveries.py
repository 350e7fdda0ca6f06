"""What must reach another system: how a kind of delivery is described to the engine.

A kind (`void`, `advice`, `webhook`, ...) is one object that answers three questions: what a batch
of events owes to whom, how one delivery is tried once, and what is to be recorded when it is
over. The engine (`infrastructure/delivery/`) does the rest: it follows the log and writes each
delivery exactly once, leases it to one worker at a time, keeps the order of a lane, backs off,
gives up, and replays.

To add a kind: implement `DeliveryKind` (see `Void` in the example below), and add it to
`_kinds` in `interfaces/duties.py`. Nothing else knows the kinds by name.

    class Void:
        name = "void"
        listens_to = (TransactionFailedClosed,)
        policy = DeliveryPolicy(delays_s=(1, 5, 30, 120, 600, 3600), max_age_s=72 * 3600)

        async def owed(self, events):
            # Destination: whoever is held off as one by Retry-After and by the cap of attempts
            # in flight. Lane: deliveries of one kind and lane arrive in the order of the log.
            return [
                Owed(event=each, destination=service_id_of(each), lane=each.stream_id)
                for each in events
                if each.event.void_needed
            ]

        async def attempt(self, delivery):
            # The payload is made here, from the log and the vault, and is stored nowhere.
            stream = await self._log.load(delivery.tenant_id, delivery.event.stream_id)
            answer = await self._gateway.void(...)
            return Delivered(status=200) if answer.acknowledged else RetryLater("not_acknowledged")

        async def settled(self, delivery, settlement):
            # Before the delivery counts as over; may come twice, so append idempotently:
            # a command id made from `delivery.id`, and a decision that says nothing the second
            # time.
            await execute(self._log, origin(command_id=uuid5(delivery.id, "settled")), ...)

What a killed worker leaves behind is tried again when its lease is over, with the same
`delivery.id`: receivers see a delivery at least once, and know a repeat by its id.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, Protocol
from uuid import UUID, uuid5

import msgspec

from domain.events import DomainEvent, Recorded
from domain.ids import TenantId

DAY_S: Final = 86_400.0


class DeliveryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How hard a kind tries. Times are in seconds.

    The first try is at once; after the n-th failure the wait is the n-th of `delays_s` (the last
    one for ever), longer or shorter by up to the share `jitter`. A `Retry-After` is honoured up
    to `retry_after_max_s`, for the whole destination. A delivery that would be tried again more
    than `max_age_s` after it was owed (or replayed) is dead. `deadline_s` bounds one try.
    Of one kind, a process tries at most `in_flight_max` deliveries at once, of them at most half
    for one tenant, half for destinations in a run of failures, `per_destination_max` at one
    destination and a single one at one that fails (`infrastructure/delivery/places.py`).
    With `wakes`, the first one that arrives after an outage has everything that waits for this
    destination tried at once.
    """

    deadline_s: float = 15.0
    delays_s: tuple[float, ...] = (5.0, 30.0, 300.0, 1800.0, 3600.0)
    jitter: float = 0.2
    retry_after_max_s: float = 3600.0
    max_age_s: float = 3 * DAY_S
    in_flight_max: int = 128
    per_destination_max: int = 8
    wakes: bool = False


class Owed(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery that an event owes. `dead` says why it is not even tried (it may be replayed).

    An event owes a destination at most one delivery of a kind.
    """

    event: Recorded
    destination: UUID
    lane: UUID
    dead: str | None = None


class EventRef(msgspec.Struct, frozen=True, kw_only=True):
    """The event that a delivery is about: where it stands, and under which stored name."""

    id: UUID
    name: str
    stream_id: UUID
    stream_version: int
    position: int
    recorded_at: datetime


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery in the hands of one worker. `attempt` counts from 1 and never starts again.

    `failing_since` is when the destination's present run of failures began, None when the last
    try there succeeded or there was none.
    """

    id: UUID
    kind: str
    tenant_id: TenantId
    destination: UUID
    lane: UUID
    event: EventRef
    attempt: int
    owed_at: datetime
    failing_since: datetime | None


class Delivered(msgspec.Struct, frozen=True):
    """The receiver has acknowledged it. `status` is what it answered over HTTP."""

    status: int | None = None


class RetryLater(msgspec.Struct, frozen=True):
    """It failed in a way that may pass. `reason` is a short code of ours and never the receiver's
    words; `after_s` is what the receiver asked for (Retry-After). `begins_run` says that the
    destination's run of failures is counted from here, whatever failed there before; `ours` that
    it is not the destination that failed, and its run is what it was."""

    reason: str
    status: int | None = None
    after_s: float | None = None
    begins_run: bool = False
    ours: bool = False


class Dead(msgspec.Struct, frozen=True):
    """Trying again cannot help. It stays in the dead letters until somebody replays it."""

    reason: str
    status: int | None = None


class Waits(msgspec.Struct, frozen=True):
    """It was not tried, and that counts as no try: its time has not come, or its tenant is not
    served now. It is due again after `after_s`, and with `holds` all of its destination."""

    after_s: float = 5.0
    holds: bool = True
    status: None = None


Attempted = Delivered | RetryLater | Dead | Waits
Settlement = Delivered | Dead


class TenantMustWait(Exception):
    """What one tenant's events owe cannot be said yet. `reason` is a short code of ours."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class DeliveryKind(Protocol):
    """One kind of delivery. `name` is stored: it never changes once a delivery was owed."""

    @property
    def name(self) -> str: ...

    @property
    def listens_to(self) -> tuple[type[DomainEvent], ...]:
        """The only events that `owed` is given."""
        ...

    @property
    def policy(self) -> DeliveryPolicy: ...

    async def owed(self, events: Sequence[Recorded]) -> Sequence[Owed]:
        """What these events owe; they are in the order of the log.

        What it raises is visible and skips nothing. Unavailable, and a database that is away, halt
        the kind for all; TenantMustWait, and whatever else it raises about one event alone, makes
        that event's tenant wait and nobody else.

        It may be asked twice about the same events; only one answer is written. A new kind is
        asked about the whole log, from the first event on. A tenant that waited is asked about
        by itself.
        """
        ...

    async def attempt(self, delivery: Delivery) -> Attempted:
        """Try once, within `policy.deadline_s`. What it raises counts as RetryLater, `ours`."""
        ...

    async def settled(self, delivery: Delivery, settlement: Settlement) -> None:
        """Record what came of it. What it raises counts as RetryLater; see the module."""
        ...


class DeliveryTry(msgspec.Struct, frozen=True, kw_only=True):
    """One try. `outcome` is None while it runs, and for ever when its worker died."""

    attempt: int
    started_at: datetime
    finished_at: datetime | None
    outcome: Literal["delivered", "retry", "dead"] | None
    reason: str | None
    status: int | None


class DeliveryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery as its tenant sees it; `tries` are the newest, oldest first.

    `due_at` is when a pending one is tried next.
    """

    id: UUID
    kind: str
    destination: UUID
    event: EventRef
    state: Literal["pending", "delivered", "dead"]
    reason: str | None
    attempts: int
    owed_at: datetime
    due_at: datetime
    finished_at: datetime | None
    tries: Sequence[DeliveryTry] = ()


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries of a destination to try again: those that are over and fit all of this.

    `since` and `until` bound when the event was recorded (the second is not included).
    """

    event_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    failed_only: bool = False


class DeliveryRecords(Protocol):
    """What a tenant may see and ask of its deliveries."""

    async def about(self, tenant_id: TenantId, stream_id: UUID) -> Sequence[DeliveryRecord]:
        """Every delivery, of any kind, that the events of a stream owe; in the log's order."""
        ...

    async def at(
        self,
        tenant_id: TenantId,
        kind: str,
        destination: UUID,
        *,
        state: Literal["pending", "delivered", "dead"] | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> Sequence[DeliveryRecord]:
        """A destination's deliveries, newest first; `before` is a position of the log."""
        ...

    async def replay(
        self, tenant_id: TenantId, kind: str, destination: UUID, which: Replayed
    ) -> int:
        """Have deliveries tried again, and how many; a bounded number of the oldest at once."""
        ...


def event_id(stream_id: UUID, stream_version: int) -> UUID:
    """The public id of an event, the same for everybody who is told of it."""
    return uuid5(stream_id, f"event:{stream_version}")


def delivery_id(kind: str, event: UUID, destination: UUID) -> UUID:
    """The id of a delivery is a function of what is delivered to whom: a repeat bears it too."""
    return uuid5(event, f"delivery:{kind}:{destination}")
