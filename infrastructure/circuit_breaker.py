"""Stops calling a product that does not answer, and lets a few calls through to see if it is back.

No library does this as it must be done here (reference edge.md §5: each of those tried lets every
waiting call through when half open, one counts cancelled calls as failures), and none weighs
failures per device: one hostile or broken device must not close a lane for everybody else.

How failures are weighed (reference broker.md §6 G):

- A run of failures opens the circuit when its weight reaches `consecutive_failures`; a device
  weighs at most half of that, rounded up, so at least two devices take part.
- Rates are means over devices of each device's own rate in the window, over at least `min_calls`
  calls, and must hold without the worst device too.
- A device that has been the only one for an hour counts in full: for a service behind a single
  gate there is nobody else to agree with it.
- The device whose probe failed last stands back for one `open_s` when the circuit is half open
  again, so that one broken device cannot keep a healthy product shut out.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from domain.ids import DeviceId
from domain.linked_service import BreakerSettings

State = Literal["closed", "open", "half_open"]
Outcome = Literal["answered", "slow", "failed", "refused", "cancelled"]
"""`answered` in time and `slow` are successes. `refused`: the product answered and the answer
says nothing of its health (4xx). `cancelled`: we gave up ourselves; it says nothing at all."""

LONE_S: Final = 3600.0
GROWTH: Final = 2.0


class _Call(msgspec.Struct, frozen=True):
    at: float
    device: DeviceId
    failed: bool
    slow: bool


class _Tally(msgspec.Struct):
    calls: int = 0
    failed: int = 0
    slow: int = 0


class _Window:
    """The calls of the last seconds, counted per device."""

    def __init__(self) -> None:
        self._calls: deque[_Call] = deque()
        self._tallies: dict[DeviceId, _Tally] = {}

    def add(self, call: _Call) -> None:
        self._calls.append(call)
        self._count(call, 1)

    def forget_before(self, at: float) -> None:
        while self._calls and self._calls[0].at < at:
            self._count(self._calls.popleft(), -1)

    def _count(self, call: _Call, step: int) -> None:
        tally = self._tallies.setdefault(call.device, _Tally())
        tally.calls += step
        tally.failed += step * call.failed
        tally.slow += step * call.slow
        if tally.calls == 0:
            del self._tallies[call.device]

    def exceeds(self, settings: BreakerSettings, lone: bool) -> bool:
        if len(self._calls) < settings.min_calls:
            return False
        tallies = self._tallies.values()
        failed = [tally.failed / tally.calls for tally in tallies]
        slow = [tally.slow / tally.calls for tally in tallies]
        return _holds(failed, settings.failure_rate, lone) or _holds(slow, settings.slow_rate, lone)


def _holds(shares: list[float], rate: float, lone: bool) -> bool:
    """Whether the mean of the devices' shares reaches the rate, the worst device left out."""
    if lone:
        return sum(shares) >= rate * len(shares)
    return len(shares) > 1 and sum(shares) - max(shares) >= rate * (len(shares) - 1)


class Permit:
    """Leave to make one call. Whoever holds it says how the call went, exactly once."""

    def __init__(self, breaker: "CircuitBreaker", generation: int, device: DeviceId) -> None:
        self._breaker = breaker
        self._generation = generation
        self._device = device
        self._settled = False

    def settle(self, outcome: Outcome, retry_after_s: float = 0.0) -> None:
        """`retry_after_s` is what the product asked for; it lengthens an opening, within limits."""
        if self._settled:
            return
        self._settled = True
        self._breaker.settle(self._generation, self._device, outcome, retry_after_s)


class CircuitBreaker:
    """One per linked service and process. `monotonic` is a clock in seconds.

    `on_change` hears of every change of state, after it: old, new, and for how long when open.
    """

    def __init__(
        self,
        settings: BreakerSettings,
        monotonic: Callable[[], float],
        on_change: Callable[[State, State, float], None] | None = None,
    ) -> None:
        self.settings = settings
        self._monotonic = monotonic
        self._on_change = on_change
        self._state: State = "closed"
        self._generation = 0
        self._window = _Window()
        self._streak: dict[DeviceId, int] = {}
        self._openings = 0
        self._open_until = 0.0
        self._half_open_at = 0.0
        self._permits = 0
        self._successes = 0
        self._failed_prober: DeviceId | None = None
        self._latest: tuple[DeviceId, float] | None = None
        self._other: tuple[DeviceId, float] | None = None

    @property
    def state(self) -> State:
        """As it is now: an opening that has run its time shows as half open."""
        if self._state == "open" and self._monotonic() >= self._open_until:
            return "half_open"
        return self._state

    def admit(self, device: DeviceId) -> Permit | None:
        """A permit, or None when the circuit is open: then the call is not made."""
        now = self._monotonic()
        self._see(device, now)
        if self._state == "open" and now >= self._open_until:
            self._half_open_at = now
            self._permits = self.settings.half_open_calls
            self._successes = 0
            self._become("half_open")
        if self._state == "open":
            return None
        if self._state == "half_open":
            if self._permits == 0 or self._must_stand_back(device, now):
                return None
            self._permits -= 1
        return Permit(self, self._generation, device)

    def settle(
        self, generation: int, device: DeviceId, outcome: Outcome, retry_after_s: float
    ) -> None:
        """How a permitted call went; called through `Permit.settle`."""
        if generation != self._generation:
            return
        now = self._monotonic()
        if self._state == "half_open":
            self._settle_probe(device, outcome, now, retry_after_s)
        elif outcome in ("answered", "slow", "failed"):
            self._settle_call(device, outcome, now, retry_after_s)

    def _settle_probe(
        self, device: DeviceId, outcome: Outcome, now: float, retry_after_s: float
    ) -> None:
        if outcome == "cancelled":
            self._permits += 1
        elif outcome == "failed":
            self._failed_prober = device
            self._open(now, retry_after_s)
        else:
            self._successes += 1
            if self._successes >= self.settings.half_open_calls:
                self._close()

    def _settle_call(
        self, device: DeviceId, outcome: Outcome, now: float, retry_after_s: float
    ) -> None:
        failed = outcome == "failed"
        self._window.forget_before(now - self.settings.window_s)
        self._window.add(_Call(now, device, failed, outcome == "slow"))
        if failed:
            self._streak[device] = self._streak.get(device, 0) + 1
        else:
            self._streak.clear()
        if outcome == "answered":
            return
        lone = self._is_lone(device, now)
        if self._streak_is_long(lone) or self._window.exceeds(self.settings, lone):
            self._open(now, retry_after_s)

    def _streak_is_long(self, lone: bool) -> bool:
        needed = self.settings.consecutive_failures
        if lone:
            return sum(self._streak.values()) >= needed
        most = (needed + 1) // 2
        weight = sum(min(failures, most) for failures in self._streak.values())
        return len(self._streak) >= 2 and weight >= needed

    def _see(self, device: DeviceId, now: float) -> None:
        if self._latest is not None and self._latest[0] != device:
            self._other = self._latest
        self._latest = (device, now)

    def _is_lone(self, device: DeviceId, now: float) -> bool:
        return not any(
            seen is not None and seen[0] != device and now - seen[1] <= LONE_S
            for seen in (self._latest, self._other)
        )

    def _must_stand_back(self, device: DeviceId, now: float) -> bool:
        return (
            device == self._failed_prober
            and now - self._half_open_at < self.settings.open_s
            and not self._is_lone(device, now)
        )

    def _open(self, now: float, retry_after_s: float) -> None:
        grown = self.settings.open_s * GROWTH ** min(self._openings, 32)
        self._openings += 1
        self._open_until = now + min(max(grown, retry_after_s), self.settings.open_max_s)
        self._become("open", self._open_until - now)

    def _close(self) -> None:
        self._openings = 0
        self._failed_prober = None
        self._become("closed")

    def _become(self, state: State, open_s: float = 0.0) -> None:
        before, self._state = self._state, state
        # A new generation: calls permitted in the old state no longer say anything about this one.
        self._generation += 1
        self._window = _Window()
        self._streak = {}
        if self._on_change is not None:
            self._on_change(before, state, open_s)
