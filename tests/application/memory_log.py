"""The event log in memory: the event-sourcing library's own store behind our two ports.

It keeps every promise of the log on Postgres (`test_memory_log` asks both the same questions),
and lets a test step in at the moments that matter: before a load, before a commit, and between
a commit and its answer.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import msgspec
from eventsourcing.persistence import StoredEvent
from eventsourcing.popo import POPOApplicationRecorder

from application.ports import Appended, Clock, StaleStream
from domain.catalogue import EVENTS, UPCASTERS
from domain.events import DomainEvent, Origin, Recorded, SealedValue, StreamAppend
from domain.ids import TenantId
from infrastructure.event_log.log import PAYLOAD_BYTES_MAX
from infrastructure.event_log.mapper import EventMapper

S = TypeVar("S")

Hook = Callable[[], Awaitable[None]]
"""What happens at a moment of the log: another writer gets in, a process dies, time passes."""

CATALOGUE = EventMapper(EVENTS, UPCASTERS)


class _Envelope(msgspec.Struct, frozen=True):
    """What the library's record has no column for goes into its state, around the payload."""

    position: int
    tenant_id: TenantId
    actor: str
    correlation_id: UUID
    command_id: UUID
    recorded_at: datetime
    payload: msgspec.Raw


async def _no_pause() -> None:
    """Nobody else wants to run."""


def _not_kept(_: TenantId, value: SealedValue) -> None:
    raise AssertionError(f"this test has no vault to keep {value.field} in")


class MemoryEventLog:
    """`EventLog` and `Streams`. `pause` is awaited wherever another task could get in between."""

    def __init__(
        self, clock: Clock, mapper: EventMapper = CATALOGUE, pause: Hook = _no_pause
    ) -> None:
        self._clock = clock
        self._mapper = mapper
        self._pause = pause
        self._recorder = POPOApplicationRecorder()
        self._latest = clock.now()
        self._before: list[tuple[type[DomainEvent], Hook]] = []
        self._after: list[tuple[type[DomainEvent], Hook]] = []
        self._before_load: list[tuple[UUID, Hook]] = []
        self.keep: Callable[[TenantId, SealedValue], None] = _not_kept
        """Told of every value that is committed with an event."""
        self.trace: list[str] = []
        """What became durable, in order: `committed <event name>`. Others may write here too."""

    async def load(self, tenant_id: TenantId, stream_id: UUID) -> Sequence[Recorded]:
        """All events of a stream in order; empty when there is none or it is another tenant's."""
        await self._pause()
        await _step_in(self._before_load, lambda stream: stream == stream_id)
        return tuple(each for each in self.stream(stream_id) if each.tenant_id == tenant_id)

    async def state(
        self, tenant_id: TenantId, stream_id: UUID, rebuild: Callable[[Sequence[Recorded]], S]
    ) -> S:
        """The folded state as of now: this log's tail is always fresh."""
        return rebuild(await self.load(tenant_id, stream_id))

    async def append(self, origin: Origin, appends: Sequence[StreamAppend]) -> Appended:
        """Commit all of it or nothing. Raises StaleStream, ValueError, UnknownEvent."""
        await self._pause()
        named = {type(event) for part in appends for event in part.events}
        await _step_in(self._before, named.__contains__)
        appended = self.record(origin, appends)
        await _step_in(self._after, named.__contains__)
        await self._pause()
        return appended

    def before(self, event: type[DomainEvent], hook: Hook) -> None:
        """Run `hook` once, when the next submission with such an event is about to commit."""
        self._before.append((event, hook))

    def after(self, event: type[DomainEvent], hook: Hook) -> None:
        """Run `hook` once, when such an event has been committed and nobody has heard of it."""
        self._after.append((event, hook))

    def before_load(self, stream_id: UUID, hook: Hook) -> None:
        """Run `hook` once, when this stream is about to be loaded."""
        self._before_load.append((stream_id, hook))

    def record(self, origin: Origin, appends: Sequence[StreamAppend]) -> Appended:
        """`append` at once, without a pause."""
        rows = [
            (part, version, *self._mapper.encode(event))
            for part in appends
            for version, event in enumerate(part.events, start=part.expected_version + 1)
        ]
        _check(appends, [payload for *_, payload in rows])
        stale = [part.stream_id for part in appends if part.events and self._is_stale(part)]
        stale += [
            part.unless_begun
            for part in appends
            if part.unless_begun is not None and self.stream(part.unless_begun)
        ]
        if stale:
            return self._repeated(origin, appends, stale)
        first = (self._recorder.max_notification_id() or 0) + 1
        self._latest = max(self._latest, self._clock.now())
        positions = self._recorder.insert_events(
            [
                StoredEvent(
                    originator_id=part.stream_id,
                    originator_version=version,
                    topic=name,
                    state=msgspec.json.encode(
                        _Envelope(
                            position,
                            part.tenant_id,
                            origin.actor,
                            origin.correlation_id,
                            origin.command_id,
                            self._latest,
                            msgspec.Raw(payload),
                        )
                    ),
                )
                for position, (part, version, name, payload) in enumerate(rows, start=first)
            ]
        )
        assert positions == list(range(first, first + len(rows)))
        for part in appends:
            for value in part.values:
                self.keep(part.tenant_id, value)
        self.trace += [f"committed {name}" for *_, name, _ in rows]
        return Appended(first_position=first, last_position=first + len(rows) - 1)

    async def read(self, after: int, limit: int) -> Sequence[Recorded]:
        """At most `limit` events of all tenants that follow position `after`."""
        return self.read_now()[after : after + limit]

    def read_now(self) -> Sequence[Recorded]:
        """The whole log in order."""
        found = self._recorder.select_notifications(start=1, limit=1_000_000)
        return tuple(self._recorded(notification) for notification in found)

    def stream(self, stream_id: UUID) -> list[Recorded]:
        """All events of a stream, whoever's it is."""
        return [self._recorded(stored) for stored in self._recorder.select_events(stream_id)]

    def _recorded(self, stored: StoredEvent) -> Recorded:
        envelope = msgspec.json.decode(stored.state, type=_Envelope)
        return Recorded(
            position=envelope.position,
            tenant_id=envelope.tenant_id,
            stream_id=UUID(str(stored.originator_id)),
            version=stored.originator_version,
            event=self._mapper.decode(stored.topic, bytes(envelope.payload)),
            actor=envelope.actor,
            correlation_id=envelope.correlation_id,
            command_id=envelope.command_id,
            recorded_at=envelope.recorded_at,
        )

    def _is_stale(self, part: StreamAppend) -> bool:
        past = self.stream(part.stream_id)
        return len(past) != part.expected_version or any(
            each.tenant_id != part.tenant_id for each in past
        )

    def _repeated(
        self, origin: Origin, appends: Sequence[StreamAppend], stale: Sequence[UUID]
    ) -> Appended:
        """The answer of the first time, when all of it is there under this very command."""
        own = {
            (each.tenant_id, each.stream_id, each.version): each.position
            for part in appends
            for each in self.stream(part.stream_id)
            if each.command_id == origin.command_id
        }
        positions = [
            own.get((part.tenant_id, part.stream_id, part.expected_version + number))
            for part in appends
            for number in range(1, len(part.events) + 1)
        ]
        known = [position for position in positions if position is not None]
        if len(known) < len(positions):
            raise StaleStream(stale)
        return Appended(first_position=min(known), last_position=max(known), replayed=True)


def _check(appends: Sequence[StreamAppend], payloads: Sequence[bytes]) -> None:
    """Raises ValueError for a submission that makes no sense."""
    if any(part.expected_version < 0 for part in appends):
        raise ValueError("an expected version below 0")
    if any(len(payload) > PAYLOAD_BYTES_MAX for payload in payloads):
        raise ValueError(f"an event takes more than {PAYLOAD_BYTES_MAX} bytes")
    if not payloads:
        raise ValueError("a submission without events")
    if len({part.stream_id for part in appends}) < len(appends):
        raise ValueError("a submission names a stream twice")


K = TypeVar("K")


async def _step_in(hooks: list[tuple[K, Hook]], concerns: Callable[[K], bool]) -> None:
    """Run the first hook that is concerned, once; what it does itself meets no hook again."""
    for index, (what, hook) in enumerate(hooks):
        if concerns(what):
            del hooks[index]
            await hook()
            return
