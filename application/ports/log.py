"""The event log, and states that are read from it."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

import msgspec

from domain.events import DomainEvent, Origin, Recorded, StreamAppend
from domain.ids import TenantId

S = TypeVar("S")


class StaleStream(Exception):
    """Someone else appended first.

    `streams` names the streams whose expected version was wrong, or that should not have begun.
    """

    def __init__(self, streams: Sequence[UUID]) -> None:
        self.streams = tuple(streams)
        super().__init__(", ".join(str(stream) for stream in self.streams))


class CommitFailed(Exception):
    """Nobody could say whether it is durable. Retrying with the same command id is safe."""


class Appended(msgspec.Struct, frozen=True, kw_only=True):
    """Where a submission stands in the log. `replayed` when its command id was already there."""

    first_position: int
    last_position: int
    replayed: bool = False


class EventLog(Protocol):
    """The log is the repository: load a stream, append to streams, nothing else."""

    async def load(self, tenant_id: TenantId, stream_id: UUID) -> Sequence[Recorded]:
        """All events of a stream in order; empty when there is none or it is another tenant's."""
        ...

    async def append(self, origin: Origin, appends: Sequence[StreamAppend]) -> Appended:
        """Commit all of it or nothing, durably, before returning.

        Raises StaleStream when an expected version is wrong, or when a stream has begun that should
        not have (`StreamAppend.unless_begun`); CommitFailed when the outcome
        could not be learnt within the writer's deadline.
        """
        ...


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """Where in the log a stream began."""

    position: int
    stream_id: UUID


class LogPage(msgspec.Struct, frozen=True, kw_only=True):
    """Events of one tenant in order. `read_to`: there are no others up to that position."""

    events: Sequence[Recorded]
    read_to: int


class LogHistory(Protocol):
    """The past: where the log stood when, and what one tenant's part of it held by then."""

    async def end(self) -> int:
        """The last position of the whole log; 0 when nothing has happened."""
        ...

    async def position_at(self, moment: datetime) -> int:
        """The last position recorded at or before `moment`; 0 before the first."""
        ...

    async def begun(
        self,
        tenant_id: TenantId,
        begins_with: type[DomainEvent],
        *,
        after: int | None,
        up_to: int,
        limit: int,
    ) -> Sequence[Beginning]:
        """Streams of one kind that had begun by `up_to`, at most `limit` of those beyond `after`.

        Oldest first, but transactions newest first, as they are listed. The kinds are users,
        devices, linked services and transactions; raises KeyError for another.
        """
        ...

    async def events(self, tenant_id: TenantId, *, after: int, up_to: int, limit: int) -> LogPage:
        """A tenant's events beyond `after` and up to `up_to`, in order, at most `limit`.

        `up_to` must be a position that the log has reached. What stands before an event that
        cannot be read is returned first; raises what reading that event raises when it is the
        first.
        """
        ...


class Streams(Protocol):
    """States of hot streams, kept in memory and current to within a second (design §5)."""

    async def state(
        self, tenant_id: TenantId, stream_id: UUID, rebuild: Callable[[Sequence[Recorded]], S]
    ) -> S:
        """The folded state of a stream, from memory while the log's tail is fresh."""
        ...
