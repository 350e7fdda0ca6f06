"""The proof of one event: found by its id, and given once a checkpoint covers it."""

import asyncio
from typing import Final

from application.ports import Clock
from application.ports.transparency import TransparencyLogs
from domain.errors import NotFound, Unavailable
from domain.ids import TenantId

PATIENCE_S: Final = 5.0
"""An event is under a checkpoint within two seconds, unless nobody keeps the log."""

_LOOK_EVERY_S: Final = 0.1


class EventProofs:
    """`tlog-proof@v1` of a tenant's own events."""

    def __init__(
        self, logs: TransparencyLogs, clock: Clock, *, patience_s: float = PATIENCE_S
    ) -> None:
        self._logs = logs
        self._clock = clock
        self._patience_s = patience_s

    async def of_event(self, log_id: TenantId, event_id: str, *, final: bool = False) -> str:
        """Waits for the checkpoint of an event that was recorded just now.

        Raises NotFound (`event_not_found`), alike for what is nowhere, what is another tenant's
        and what is no id, and Unavailable (`position_not_reached`).
        """
        index = await self._logs.leaf_index(log_id, event_id)
        if index is None:
            raise NotFound("event_not_found")
        until = self._clock.monotonic() + self._patience_s
        while True:
            found = await self._logs.proof(log_id, index, final=final)
            if found is not None:
                return found
            if self._clock.monotonic() >= until:
                raise Unavailable("position_not_reached", retry_after_s=1)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def of_leaf(self, log_id: TenantId, index: int, *, final: bool = False) -> str:
        """Raises NotFound (`event_not_found`) for a leaf that no checkpoint covers."""
        found = await self._logs.proof(log_id, index, final=final)
        if found is None:
            raise NotFound("event_not_found")
        return found
