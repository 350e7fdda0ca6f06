"""The one road of a command: load, decide, append, and decide again if the stream moved."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import UUID

import msgspec

from application.ports import EventLog, StaleStream
from domain.events import DomainEvent, Origin, Recorded, SealedValue, StreamAppend
from domain.ids import TenantId

ATTEMPTS_MAX = 3

S = TypeVar("S")
T = TypeVar("T")

Rebuild = Callable[[Sequence[Recorded]], S]


def stream_of(begins_with: type[DomainEvent], rebuild: Rebuild[S]) -> Rebuild[S | None]:
    """`rebuild` for a stream whose id somebody told us: one of another kind is no such thing.

    Every id of a tenant names some stream of its, so a caller can name a device's as a user's.
    """

    def rebuilt(past: Sequence[Recorded]) -> S | None:
        if past and not isinstance(past[0].event, begins_with):
            return None
        return rebuild(past)

    return rebuilt


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What a command left behind. `position` is None when there was nothing to do.

    A command that had been carried out before leaves nothing new: no events, and its position.
    """

    stream_version: int
    events: Sequence[DomainEvent]
    position: int | None


async def execute(
    log: EventLog,
    origin: Origin,
    tenant_id: TenantId,
    stream_id: UUID,
    rebuild: Rebuild[S],
    decide: Callable[[S], Sequence[DomainEvent]],
    beside: Callable[[], Awaitable[Sequence[StreamAppend]]] | None = None,
    unless_begun: UUID | None = None,
    keeping: Callable[[], Awaitable[Sequence[SealedValue]]] | None = None,
) -> Done:
    """Carry out one decision on one stream, once for each command id.

    `beside` names appends to other streams that stand or fall in the same commit (claims); it is
    asked again on every attempt, and so is `keeping`, for values of the vault in the same commit.
    `unless_begun` is as in StreamAppend. Raises what `decide` raises, and StaleStream when the
    stream moved under every attempt, or `unless_begun` has begun.
    """

    async def once() -> Done:
        past = await log.load(tenant_id, stream_id)
        # Decided even when it was carried out before: it must have asked for the same thing.
        events = decide(rebuild(past))
        earlier = [each for each in past if each.command_id == origin.command_id]
        if earlier:
            return Done(stream_version=len(past), events=(), position=earlier[-1].position)
        if not events:
            return Done(stream_version=len(past), events=events, position=None)
        # The stream's own events stand last: their position is the one that is answered, and the
        # caller may ask for the proof of it.
        appends = [
            *(await beside() if beside is not None else ()),
            StreamAppend(
                tenant_id=tenant_id,
                stream_id=stream_id,
                expected_version=len(past),
                events=events,
                values=await keeping() if keeping is not None else (),
                unless_begun=unless_begun,
            ),
        ]
        appended = await log.append(origin, appends)
        if appended.replayed:
            # The same command got in between: from here on it is one carried out before.
            return await once()
        return Done(
            stream_version=len(past) + len(events),
            events=events,
            position=appended.last_position,
        )

    return await retrying(once)


async def retrying(attempt: Callable[[], Awaitable[T]]) -> T:
    """Run `attempt` until no other writer got in between, at most three times."""
    for _ in range(ATTEMPTS_MAX - 1):
        try:
            return await attempt()
        except StaleStream:
            continue
    return await attempt()
