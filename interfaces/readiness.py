"""Whether this process should be sent requests, and what of its answers is behind."""

from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg_pool import PoolTimeout

from infrastructure.event_log.tail import Tail
from infrastructure.projections.health import ProjectionHealth

FRESH_S: Final = 2.0


class TailReadiness:
    """A process serves when its view of the log is at most two seconds old.

    A read model that stands still, for one tenant or for all, is told and keeps nobody from
    serving: what it shows is old, and every decision is made without it.
    """

    def __init__(self, tail: Tail, projections: ProjectionHealth) -> None:
        self._tail = tail
        self._projections = projections

    async def unready(self) -> list[str]:
        waiting: list[str] = []
        if not self._tail.fresh(FRESH_S):
            waiting.append("event_log")
        if self._tail.held is not None:
            waiting.append("unknown_event")
        return waiting

    async def halted(self) -> Sequence[str] | None:
        """None while the database does not say; the tail, which asks it too, is late then."""
        try:
            return await self._projections.halted()
        except (psycopg.Error, PoolTimeout):
            return None
