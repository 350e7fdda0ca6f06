"""The calls that a circuit breaker judges: those of the last seconds, counted per device."""

from collections import deque
from uuid import UUID

import msgspec

from domain.circuit import FailureCounts
from domain.fail_mode import FailureClass
from domain.linked_service import BreakerSettings


class Call(msgspec.Struct, frozen=True):
    """One call that was made; `failure` says how it failed, if it did."""

    at: float
    device: UUID
    failure: FailureClass | None
    slow: bool


class _Tally(msgspec.Struct):
    calls: int = 0
    failed: int = 0
    slow: int = 0


class Window:
    """Bounded by time: somebody says when what is old may be forgotten."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque()
        self._tallies: dict[UUID, _Tally] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: Call) -> None:
        self._calls.append(call)
        self._count(call, 1)

    def forget_before(self, at: float) -> None:
        while self._calls and self._calls[0].at < at:
            self._count(self._calls.popleft(), -1)

    def failures(self) -> FailureCounts:
        """How many calls failed, by the way in which they did."""
        counted = FailureCounts()
        for call in self._calls:
            if call.failure is not None:
                counted = counted.and_one(call.failure)
        return counted

    def slow(self) -> int:
        """How many were answered, and slowly."""
        return sum(tally.slow for tally in self._tallies.values())

    def devices(self) -> int:
        """How many devices had a call that failed."""
        return sum(tally.failed > 0 for tally in self._tallies.values())

    def exceeds(self, settings: BreakerSettings, lone: bool) -> bool:
        """Whether a rate is reached, over the devices' own shares."""
        if len(self._calls) < settings.min_calls:
            return False
        tallies = self._tallies.values()
        failed = [tally.failed / tally.calls for tally in tallies]
        slow = [tally.slow / tally.calls for tally in tallies]
        return _holds(failed, settings.failure_rate, lone) or _holds(slow, settings.slow_rate, lone)

    def _count(self, call: Call, step: int) -> None:
        tally = self._tallies.setdefault(call.device, _Tally())
        tally.calls += step
        tally.failed += step * (call.failure is not None)
        tally.slow += step * call.slow
        if tally.calls == 0:
            del self._tallies[call.device]


def _holds(shares: list[float], rate: float, lone: bool) -> bool:
    """Whether the mean of the devices' shares reaches the rate, the worst device left out."""
    if lone:
        return sum(shares) >= rate * len(shares)
    return len(shares) > 1 and sum(shares) - max(shares) >= rate * (len(shares) - 1)
