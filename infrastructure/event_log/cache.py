"""Keeps the folded states of hot streams, for as long as the tail proves them current.

A kept state is used only while the tail has seen everything up to a second ago; it is dropped
when the tail delivers a newer event of its stream, and at once when this process appends to it
through the cache. A command that decides on a kept state is still fenced by its expected version.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

from application.ports import Appended
from domain.events import Origin, Recorded, StreamAppend
from domain.ids import TenantId

S = TypeVar("S")

_Key = tuple[int, int]
"""Tenant and stream as integers, which hash and compare without Python code; UUIDs do not."""

FRESH_WITHIN_S: Final = 1.0


class Log(Protocol):
    """Where a state is built from when none is kept."""

    async def load(self, tenant_id: TenantId, stream_id: UUID) -> Sequence[Recorded]: ...

    async def append(self, origin: Origin, appends: Sequence[StreamAppend]) -> Appended: ...


class Follower(Protocol):
    """What the cache asks of a tail."""

    def fresh(self, within_s: float) -> bool: ...

    def subscribe(self, subscriber: Callable[[Sequence[Recorded]], None]) -> None: ...


class Load:
    """A load in flight; `overtaken` when its stream moved on meanwhile."""

    __slots__ = ("overtaken",)

    def __init__(self) -> None:
        self.overtaken = False


class StreamCache:
    """`EventLog` and `Streams` of `application.ports` in one, so that writes are read at once.

    At most `streams_max` streams are kept, and no more than have `events_max` events between
    them, since a state grows with its stream; the least recently used go first. Construct it
    before the tail starts: it subscribes.
    """

    def __init__(
        self, log: Log, tail: Follower, *, streams_max: int = 10_000, events_max: int = 100_000
    ) -> None:
        self._log = log
        self._tail = tail
        self._streams_max = streams_max
        self._events_max = events_max
        self._events: dict[_Key, int] = {}
        self._events_kept = 0
        self._kept: OrderedDict[_Key, dict[Callable[..., Any], Any]] = OrderedDict()
        self._loads: dict[_Key, list[Load]] = {}
        tail.subscribe(self._moved_on)

    async def state(
        self,
        tenant_id: TenantId,
        stream_id: UUID,
        rebuild: Callable[[Sequence[Recorded]], S],
    ) -> S:
        """`rebuild` over the stream's events: kept from before, or loaded now.

        `rebuild` must be one function, not a new lambda each time: a stream's states are kept
        per function. An absent stream is kept like any other. Raises what loading raises.
        """
        key = (tenant_id.int, stream_id.int)
        fresh = self._tail.fresh(FRESH_WITHIN_S)
        if fresh:
            states = self._kept.get(key)
            if states is not None and rebuild in states:
                self._kept.move_to_end(key)
                kept: S = states[rebuild]
                return kept
        load = Load()
        self._loads.setdefault(key, []).append(load)
        try:
            events = await self._log.load(tenant_id, stream_id)
            state = rebuild(events)
        finally:
            self._end(key, load)
        # The tail followed when the load began, so whatever the load did not see was either
        # delivered meanwhile (overtaken) or is still to come (and will drop the state).
        if fresh and self._may_keep(load):
            self._keep(key, rebuild, state, len(events))
        return state

    async def load(self, tenant_id: TenantId, stream_id: UUID) -> Sequence[Recorded]:
        """The stream as the database has it, whatever is kept."""
        return await self._log.load(tenant_id, stream_id)

    async def append(self, origin: Origin, appends: Sequence[StreamAppend]) -> Appended:
        """Append, and forget what was known of these streams, also when the outcome is not."""
        try:
            return await self._log.append(origin, appends)
        finally:
            for part in appends:
                self.forget(part.tenant_id, part.stream_id)

    def forget(self, tenant_id: TenantId, stream_id: UUID) -> None:
        """The next `state` loads: the caller knows better, for instance after its own append."""
        self._forget((tenant_id.int, stream_id.int))

    def _forget(self, key: _Key) -> None:
        if self._kept.pop(key, None) is not None:
            self._events_kept -= self._events.pop(key)
        for load in self._loads.get(key, ()):
            load.overtaken = True

    def _may_keep(self, load: Load) -> bool:
        return not load.overtaken

    def _moved_on(self, events: Sequence[Recorded]) -> None:
        if not self._kept and not self._loads:
            return
        moved = {(event.tenant_id.int, event.stream_id.int) for event in events}
        for key in moved & self._kept.keys() | moved & self._loads.keys():
            self._forget(key)

    def _keep(self, key: _Key, rebuild: Callable[..., Any], state: object, events: int) -> None:
        self._kept.setdefault(key, {})[rebuild] = state
        self._kept.move_to_end(key)
        self._events_kept += events - self._events.get(key, 0)
        self._events[key] = events
        while len(self._kept) > self._streams_max or self._events_kept > self._events_max:
            oldest, _ = self._kept.popitem(last=False)
            self._events_kept -= self._events.pop(oldest)

    def _end(self, key: _Key, load: Load) -> None:
        loads = self._loads[key]
        loads.remove(load)
        if not loads:
            del self._loads[key]
