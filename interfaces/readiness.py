"""Whether this process should be sent requests, and what of its answers is behind."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import psycopg
from psycopg_pool import PoolTimeout

from infrastructure.projections.health import ProjectionHealth

FRESH_S: Final = 2.0


class View(Protocol):
    """What is asked of the log's tail."""

    @property
    def held(self) -> object: ...

    def fresh(self, within_s: float) -> bool: ...


class TailReadiness:
    """A process serves when its view of the log is at most two seconds old.

    A read model that stands still, for one tenant or for all, is told and keeps nobody from
    serving: what it shows is old, and every decision is made without it. Nor does a server
    certificate that runs out: it is told while there is time.
    """

    def __init__(
        self,
        tail: View,
        projections: ProjectionHealth,
        ending_certificates: Callable[[], Sequence[str]],
    ) -> None:
        self._tail = tail
        self.leaving = False
        """Set when the process is told to end: nobody should be sent here any more."""
        self._projections = projections
        self._ending = ending_certificates

    async def unready(self) -> list[str]:
        waiting: list[str] = ["shutting_down"] if self.leaving else []
        if not self._tail.fresh(FRESH_S):
            waiting.append("event_log")
        if self._tail.held is not None:
            waiting.append("unknown_event")
        return waiting

    def ending_certificates(self) -> Sequence[str]:
        return self._ending()

    async def halted(self) -> Sequence[str] | None:
        """None while the database does not say; the tail, which asks it too, is late then."""
        try:
            return await self._projections.halted()
        except (psycopg.Error, PoolTimeout):
            return None
