"""Reading as of a past moment: the streams themselves, folded up to a position of the log.

Read models know the present only, so none of them is asked. A moment is a position, or a time,
which stands for the last position recorded at or before it.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Generic, TypeVar
from uuid import UUID

import msgspec

from application.ports import Clock, EventLog, LogHistory
from domain.errors import Malformed
from domain.events import DomainEvent, Recorded
from domain.ids import TenantId

S = TypeVar("S")

STREAMS_PER_PAGE_MAX: Final = 1000
"""How many streams one page of a list looks into; a filter may leave it shorter than asked."""


class PastPage(msgspec.Struct, Generic[S], frozen=True, kw_only=True):
    """One page of a list as of a moment. `next` is where the page after it begins."""

    states: Sequence[S]
    next: int | None


def _all(_: object) -> bool:
    return True


class History:
    def __init__(self, log: EventLog, past: LogHistory, clock: Clock) -> None:
        self._log = log
        self._past = past
        self._clock = clock

    async def position(self, as_of: int | datetime) -> int:
        """The position that a moment stands for. Raises Malformed (`as_of_in_future`)."""
        if isinstance(as_of, datetime):
            if as_of > self._clock.now():
                raise Malformed("as_of_in_future", "this has not happened yet")
            return await self._past.position_at(as_of)
        end = await self._past.end()
        if as_of > end:
            raise Malformed("as_of_in_future", f"the log ends at {end}")
        return as_of

    async def end(self) -> int:
        """The last position of the log."""
        return await self._past.end()

    async def stream(
        self,
        tenant_id: TenantId,
        stream_id: UUID,
        begins_with: type[DomainEvent],
        up_to: int,
    ) -> Sequence[Recorded]:
        """What a stream held by then; empty when it had not begun, or is of another kind."""
        past = await self._log.load(tenant_id, stream_id)
        if past and not isinstance(past[0].event, begins_with):
            return ()
        return [recorded for recorded in past if recorded.position <= up_to]

    async def page(
        self,
        tenant_id: TenantId,
        begins_with: type[DomainEvent],
        rebuild: Callable[[Sequence[Recorded]], S],
        *,
        up_to: int,
        after: int | None,
        limit: int,
        keep: Callable[[S], bool] = _all,
    ) -> PastPage[S]:
        """The states of the streams of one kind by then, those that `keep` lets through.

        In the order of the list of today, and with its cursors. `next` may lead to an empty
        page, never past a stream.
        """
        kept: list[S] = []
        for room in range(STREAMS_PER_PAGE_MAX, 0, -limit):
            asked = min(limit, room)
            begun = await self._past.begun(
                tenant_id, begins_with, after=after, up_to=up_to, limit=asked
            )
            streams = await asyncio.gather(
                *(self.stream(tenant_id, each.stream_id, begins_with, up_to) for each in begun)
            )
            for each, past in zip(begun, streams, strict=True):
                after = each.position
                state = rebuild(past)
                if keep(state):
                    kept.append(state)
                if len(kept) == limit:
                    return PastPage(states=kept, next=after)
            if len(begun) < asked:
                return PastPage(states=kept, next=None)
        return PastPage(states=kept, next=after)
