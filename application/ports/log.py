"""The event log, and states that are read from it."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar
from uuid import UUID

import msgspec

from domain.events import Origin, Recorded, StreamAppend
from domain.ids import TenantId

S = TypeVar("S")


class StaleStream(Exception):
    """Someone else appended first. `streams` names the streams whose expected version was wrong."""

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

        Raises StaleStream when an expected version is wrong, CommitFailed when the outcome
        could not be learnt within the writer's deadline.
        """
        ...


class Streams(Protocol):
    """States of hot streams, kept in memory and current to within a second (design §5)."""

    async def state(
        self, tenant_id: TenantId, stream_id: UUID, rebuild: Callable[[Sequence[Recorded]], S]
    ) -> S:
        """The folded state of a stream, from memory while the log's tail is fresh."""
        ...
