"""Wakes those in this process who wait for something in the log, whoever wrote it.

A subscriber of the log's tail, like the audit's ears: what another process commits rings here as
soon as the tail has it. Who rings for what is a key: a device is asked, a challenge moved.
"""

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final, get_args
from uuid import UUID

from domain.events import Recorded
from domain.palm_challenge import PalmChallengeEvent, PalmChallengeOpened

WAITING_MAX: Final = 8192
"""Waiters in one process; whoever is too many is told what there is, and comes again."""

_KINDS: Final = get_args(PalmChallengeEvent)


class TailBell:
    """`application.ports.challenges.Bell`."""

    def __init__(self) -> None:
        self.superseded = False
        self.closed = False
        self._rung = asyncio.Event()

    async def rung(self, within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s if within_s != float("inf") else None):
                await self._rung.wait()
        except TimeoutError:
            return
        self._rung.clear()

    def ring(self) -> None:
        self._rung.set()


class TailBells:
    """`application.ports.challenges.Bells`; `heard` is a subscriber for the log's tail."""

    def __init__(self, waiting_max: int = WAITING_MAX) -> None:
        self._waiting_max = waiting_max
        self._bells: dict[UUID, set[TailBell]] = {}
        self._waiting = 0
        self._closed = False

    def heard(self, events: Sequence[Recorded]) -> None:
        if not self._bells:
            return
        for recorded in events:
            if isinstance(recorded.event, _KINDS):
                self._ring(recorded.stream_id)
            if isinstance(recorded.event, PalmChallengeOpened):
                self._ring(recorded.event.device_id)

    def close(self) -> None:
        """Let everybody end, and whoever comes now end at once."""
        self._closed = True
        for bells in self._bells.values():
            for bell in bells:
                bell.closed = True
                bell.ring()

    @contextmanager
    def listen(self, key: UUID, *, alone: bool = False) -> Generator[TailBell]:
        bell = TailBell()
        bell.closed = self._closed or self._waiting >= self._waiting_max
        bells = self._bells.setdefault(key, set())
        for other in bells if alone else ():
            other.superseded = True
            other.ring()
        bells.add(bell)
        self._waiting += 1
        try:
            yield bell
        finally:
            self._waiting -= 1
            bells.discard(bell)
            if not bells and self._bells.get(key) is bells:
                del self._bells[key]

    def _ring(self, key: UUID) -> None:
        for bell in self._bells.get(key, ()):
            bell.ring()
