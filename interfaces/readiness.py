"""Whether this process should be sent requests."""

from typing import Final

from infrastructure.event_log.tail import Tail

FRESH_S: Final = 2.0


class TailReadiness:
    """A process serves when its view of the log is at most two seconds old."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail

    async def unready(self) -> list[str]:
        waiting: list[str] = []
        if not self._tail.fresh(FRESH_S):
            waiting.append("event_log")
        if self._tail.held is not None:
            waiting.append("unknown_event")
        return waiting
