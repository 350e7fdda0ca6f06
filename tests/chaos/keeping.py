"""A device's journal: what it did with its answers, told again until the platform has taken it.

A device that lost patience asks later what became of its key. Half of them show the answer then,
as after a restart; the others say that they never had it, and will not show it any more.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from tests.chaos.journal import Answered, Journal, Journaled
from tests.chaos.wire import Lost, NotSent, Wire

LOOK_UP: Final = "/v1/device/transactions/"
TELL: Final = "/v1/device/journal"
AT_ONCE: Final = 100
EVERY_S: Final = 0.5
UNKNOWN_MAX: Final = 6
"""How often a key is said to be unknown before the device believes that it never arrived."""


class Entry(msgspec.Struct, frozen=True):
    """A line that the platform has not taken yet."""

    idempotency_key: str
    outcome: str
    at: datetime


class Taken(msgspec.Struct, frozen=True):
    """The platform's answer to a journal."""

    undecided: tuple[str, ...]
    unknown: tuple[str, ...]


class KeptJournal:
    """One device's. `told` and `gave_up` are noted by its lanes; `keep` runs beside them."""

    def __init__(self, device: str, journal: Journal, chance: Callable[[float], bool]) -> None:
        self._device = device
        self._journal = journal
        self._chance = chance
        self._open: dict[str, Entry] = {}
        self._lost: dict[str, int] = {}
        self._unknown: dict[str, int] = {}

    @property
    def left(self) -> int:
        """How many keys the platform has not heard the end of."""
        return len(self._open) + len(self._lost)

    def told(self, key: str, body: bytes) -> None:
        """The device showed this answer."""
        decision = msgspec.json.decode(body, type=dict[str, object])["decision"]
        self._note(key, "shown_allow" if decision == "allow" else "shown_deny")

    def gave_up(self, key: str) -> None:
        """The device went away without an answer."""
        self._lost[key] = 0

    def _note(self, key: str, outcome: str) -> None:
        self._open[key] = Entry(key, outcome, datetime.now(UTC))

    async def keep(self, wire: Wire, over: Callable[[], bool]) -> None:
        """Until `over` and nothing is left to tell."""
        while self.left or not over():
            try:
                for key in list(self._lost):
                    await self._look_up(wire, key)
                if self._open:
                    await self._tell(wire)
            except (NotSent, Lost):
                pass  # the platform is away, as it often is here: again in a moment
            await asyncio.sleep(EVERY_S)
        wire.drop()

    async def _look_up(self, wire: Wire, key: str) -> None:
        reply = await wire.get(LOOK_UP + key)
        if reply.status == 200:
            del self._lost[key]
            if self._chance(0.5):
                body = reply.body.decode()
                shown = Answered(self._device, key, 2, replayed=True, again=False, body=body)
                await self._journal.write(shown)
                self.told(key, reply.body)
            else:
                self._note(key, "not_received")
        elif reply.status == 409:
            # The vendor failed, and nobody asked again in time.
            del self._lost[key]
            self._note(key, "not_received")
        elif reply.status == 404:
            self._lost[key] += 1
            if self._lost[key] == UNKNOWN_MAX:
                del self._lost[key]
                self._note(key, "not_received")

    async def _tell(self, wire: Wire) -> None:
        entries = list(self._open.values())[:AT_ONCE]
        reply = await wire.post(TELL, msgspec.json.encode({"entries": entries}))
        if reply.status != 200:
            return
        taken = msgspec.json.decode(reply.body, type=Taken)
        for key in taken.unknown:
            self._unknown[key] = self._unknown.get(key, 0) + 1
        for entry in entries:
            key = entry.idempotency_key
            if key in taken.undecided or 0 < self._unknown.get(key, 0) < UNKNOWN_MAX:
                continue
            del self._open[key]
            await self._journal.write(Journaled(self._device, key, entry.outcome))
