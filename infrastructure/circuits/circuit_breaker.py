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

What a breaker knows is its `Standing`, which processes share
(`infrastructure/circuits/breakers.py`), and the calls of its window, of which it is told
(`observe`) whoever made them.
"""

from collections.abc import Callable
from typing import Final, Literal
from uuid import UUID

import msgspec

from domain.circuit import CircuitState, FailureCounts
from domain.fail_mode import FailureClass
from domain.linked_service import BreakerSettings
from infrastructure.circuits.breaker_window import Call, Window

Outcome = Literal["answered", "slow", "failed", "refused", "cancelled"]
"""`answered` in time and `slow` are successes. `refused`: the product answered and the answer
says nothing of its health (4xx). `cancelled`: we gave up ourselves; it says nothing at all."""

LONE_S: Final = 3600.0
GROWTH: Final = 2.0
PROBE_MAX_S: Final = 15.0
"""Beyond any deadline of a call: who holds a permit for longer has died with it."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a circuit stands. Times are on the clock of whoever holds it.

    A call that was permitted under another `generation` says nothing of this one. `openings`
    counts since the circuit was last closed; `failures` and `devices` are of the last opening.
    """

    state: CircuitState = "closed"
    generation: int = 0
    openings: int = 0
    open_s: float = 0.0
    open_until: float = 0.0
    half_open_at: float = 0.0
    permits: int = 0
    permitted_at: float = 0.0
    successes: int = 0
    failed_prober: UUID | None = None
    failures: FailureCounts = FailureCounts()
    devices: int = 0

    def later(self, seconds: float) -> "Standing":
        """The same on a clock that is so much ahead."""
        return msgspec.structs.replace(
            self,
            open_until=self.open_until + seconds,
            half_open_at=self.half_open_at + seconds,
            permitted_at=self.permitted_at + seconds,
        )


class Settled(msgspec.Struct, frozen=True, array_like=True):
    """How one permitted call went."""

    generation: int
    device: UUID
    outcome: Outcome
    retry_after_s: float
    failure: FailureClass


class Permit:
    """Leave to make one call. Whoever holds it says how the call went, exactly once."""

    def __init__(self, settle: Callable[[Settled], None], generation: int, device: UUID) -> None:
        self._settle = settle
        self._generation = generation
        self._device = device
        self._settled = False

    def settle(
        self,
        outcome: Outcome,
        retry_after_s: float = 0.0,
        failure: FailureClass = "authorize_timeout",
    ) -> None:
        """`retry_after_s` is what the product asked for; it lengthens an opening, within limits.
        `failure` is how it failed, if it did."""
        if self._settled:
            return
        self._settled = True
        self._settle(Settled(self._generation, self._device, outcome, retry_after_s, failure))


class CircuitBreaker:
    """One per linked service and process. `monotonic` is a clock in seconds.

    `on_settled` gets what permits say, in place of `settle`.
    """

    def __init__(
        self,
        settings: BreakerSettings,
        monotonic: Callable[[], float],
        on_settled: Callable[[Settled], None] | None = None,
    ) -> None:
        self.settings = settings
        self._monotonic = monotonic
        self._on_settled = on_settled or self.settle
        self.standing = Standing()
        self.window = Window()
        self._streak: dict[UUID, int] = {}
        self._seen: dict[UUID, float] = {}

    @property
    def state(self) -> CircuitState:
        """As it is now: an opening that has run its time shows as half open."""
        if self.standing.state == "open" and self._monotonic() >= self.standing.open_until:
            return "half_open"
        return self.standing.state

    def admit(self, device: UUID) -> Permit | None:
        """A permit, or None when the circuit is open: then the call is not made."""
        now = self._monotonic()
        self.see(device, now)
        if self._may_probe_anew(now):
            self._become("half_open", half_open_at=now, permits=self.settings.half_open_calls)
        if self.standing.state == "open":
            return None
        if self.standing.state == "half_open":
            if self.standing.permits == 0 or self._must_stand_back(device, now):
                return None
            self._note(permits=self.standing.permits - 1, permitted_at=now)
        return Permit(self._on_settled, self.standing.generation, device)

    def settle(self, settled: Settled) -> None:
        """How a permitted call went; called through `Permit.settle`."""
        if settled.generation != self.standing.generation:
            return
        now = self._monotonic()
        if self.standing.state == "half_open":
            self._settle_probe(settled, now)
        elif settled.outcome in ("answered", "slow", "failed"):
            self.observe(settled, now)

    def observe(self, settled: Settled, at: float) -> None:
        """How a call went that was made while the circuit was closed, here or elsewhere."""
        if settled.generation != self.standing.generation or self.standing.state != "closed":
            return
        failed = settled.outcome == "failed"
        self.window.forget_before(at - self.settings.window_s)
        failure = settled.failure if failed else None
        self.window.add(Call(at, settled.device, failure, settled.outcome == "slow"))
        if failed:
            self._streak[settled.device] = self._streak.get(settled.device, 0) + 1
        else:
            self._streak.clear()
        if settled.outcome == "answered":
            return
        lone = self._is_lone(settled.device, at)
        if self._streak_is_long(lone) or self.window.exceeds(self.settings, lone):
            self._open(at, settled.retry_after_s, self.window.failures(), self.window.devices())

    def adopt(self, standing: Standing) -> None:
        """Stand where others say that the circuit stands."""
        if standing.generation != self.standing.generation:
            self._forget_calls()
        self.standing = standing

    def see(self, device: UUID, at: float) -> None:
        """The device is there. Two of them are enough to know that none is alone."""
        self._seen[device] = max(at, self._seen.get(device, at))
        if len(self._seen) > 2:
            del self._seen[min(self._seen, key=self._seen.__getitem__)]

    def seen(self) -> dict[UUID, float]:
        """The last two devices, and when they were there."""
        return self._seen

    def _settle_probe(self, settled: Settled, now: float) -> None:
        if settled.outcome == "cancelled":
            self._note(permits=self.standing.permits + 1)
        elif settled.outcome == "failed":
            self._note(failed_prober=settled.device)
            failures = FailureCounts().and_one(settled.failure)
            self._open(now, settled.retry_after_s, failures, 1)
        else:
            self._note(successes=self.standing.successes + 1)
            if self.standing.successes >= self.settings.half_open_calls:
                self._become("closed", openings=0, open_s=0.0, failed_prober=None)

    def _may_probe_anew(self, now: float) -> bool:
        standing = self.standing
        if standing.state == "open":
            return now >= standing.open_until
        gone = now - standing.permitted_at > PROBE_MAX_S
        return standing.state == "half_open" and standing.permits == 0 and gone

    def _streak_is_long(self, lone: bool) -> bool:
        needed = self.settings.consecutive_failures
        if lone:
            return sum(self._streak.values()) >= needed
        most = (needed + 1) // 2
        weight = sum(min(failures, most) for failures in self._streak.values())
        return len(self._streak) >= 2 and weight >= needed

    def _is_lone(self, device: UUID, now: float) -> bool:
        return not any(other != device and now - at <= LONE_S for other, at in self._seen.items())

    def _must_stand_back(self, device: UUID, now: float) -> bool:
        return (
            device == self.standing.failed_prober
            and now - self.standing.half_open_at < self.settings.open_s
            and not self._is_lone(device, now)
        )

    def _open(
        self, now: float, retry_after_s: float, failures: FailureCounts, devices: int
    ) -> None:
        openings = self.standing.openings
        grown = self.settings.open_s * GROWTH ** min(openings, 32)
        open_s = min(max(grown, retry_after_s), self.settings.open_max_s)
        self._become(
            "open",
            openings=openings + 1,
            open_s=open_s,
            open_until=now + open_s,
            failures=failures,
            devices=devices,
        )

    def _become(self, state: CircuitState, **noted: object) -> None:
        # A new generation: calls permitted in the old state no longer say anything about this one.
        self._note(state=state, generation=self.standing.generation + 1, permits=0, successes=0)
        self._note(**noted)
        self._forget_calls()

    def _note(self, **changes: object) -> None:
        self.standing = msgspec.structs.replace(self.standing, **changes)

    def _forget_calls(self) -> None:
        self.window = Window()
        self._streak = {}
