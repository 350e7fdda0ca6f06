"""The circuit breakers of one process, which agree with those of the others through Redis.

While a circuit is closed or open, calls are judged by what this process knows, which is at most a
second old: others' calls and openings are heard once a second, with failures at once. A permit of
a half-open circuit is taken from all processes together, before it is used. While Redis is away
each process goes by what it sees itself. What a circuit was before this process began is read from
the log, so that a restart does not rush at a product that is down.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any, Final, TypeVar, get_args
from uuid import UUID

import structlog

from application.ports import Clock
from application.ports.circuits import CircuitChange, CircuitReading, Recall
from domain.circuit import CircuitState
from domain.ids import TenantId
from domain.linked_service import BreakerSettings
from infrastructure.circuits.circuit_breaker import CircuitBreaker, Permit, Settled, Standing
from infrastructure.circuits.shared_circuits import SharedCircuits, Told
from infrastructure.endings import end

BREAKERS_MAX: Final = 10_000
"""Beyond it the service that was not called for longest is forgotten, and recalled in time."""
FRESH_S: Final = 1.0
FRESH_WITHOUT_PERMITS_S: Final = 0.1
TRIES: Final = 5
"""How often a process reaches for a permit that others reach for, too."""
PENDING_MAX: Final = 1000

T = TypeVar("T")
_log: Final = structlog.stdlib.get_logger(__name__)


class _Circuit:
    """One breaker, and what was told and heard of it. `known` and `held` are as Redis had it."""

    def __init__(
        self,
        tenant_id: TenantId,
        service_id: UUID,
        settings: BreakerSettings,
        monotonic: Callable[[], float],
        settled: "Callable[[_Circuit, Settled], None]",
    ) -> None:
        self.tenant_id = tenant_id
        self.service_id = service_id
        self.breaker = CircuitBreaker(settings, monotonic, lambda each: settled(self, each))
        self.exchanging = asyncio.Lock()
        self.begun = False
        self.enforced = True
        self.known = Standing()
        self.held = b""
        self.noted = Standing()
        self.pending: list[Settled] = []
        self.after = "-"
        self.heard_at = float("-inf")


class Breakers:
    """One per process. `tell` hears of every change that was made here: it only takes note."""

    def __init__(
        self,
        clock: Clock,
        shared: SharedCircuits | None = None,
        tell: Callable[[CircuitChange], None] | None = None,
        recall: Recall | None = None,
    ) -> None:
        self._clock = clock
        self._shared = shared
        self._tell = tell
        self._recall = recall
        self._circuits: OrderedDict[UUID, _Circuit] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def states(self) -> Mapping[CircuitState, int]:
        """How many of the services that this process has called are in each state."""
        counted = dict.fromkeys(get_args(CircuitState), 0)
        for circuit in self._circuits.values():
            counted[circuit.breaker.state] += 1
        return counted

    async def admit(
        self,
        tenant_id: TenantId,
        service_id: UUID,
        device: UUID,
        settings: BreakerSettings,
        *,
        enforced: bool = True,
    ) -> Permit | None:
        """A permit for one call, or None when the circuit is open: then it is not made, unless
        the circuit is not `enforced` and is only told of."""
        circuit = await self._circuit(tenant_id, service_id, settings)
        circuit.enforced = enforced
        breaker = circuit.breaker
        if self._shared is None or breaker.state == "open":
            return breaker.admit(device)
        if breaker.state == "closed":
            if not circuit.exchanging.locked():
                await self._hear_within(circuit, FRESH_S)
        elif breaker.standing.permits == 0:
            await self._hear_within(circuit, FRESH_WITHOUT_PERMITS_S)
        if breaker.state == "half_open":
            return await self._agreed(circuit, lambda: breaker.admit(device))
        return breaker.admit(device)

    async def read(
        self, tenant_id: TenantId, service_id: UUID, settings: BreakerSettings
    ) -> CircuitReading:
        """Where a circuit stands, as all processes together see it."""
        circuit = await self._circuit(tenant_id, service_id, settings)
        if self._shared is not None:
            await self._hear_within(circuit, FRESH_WITHOUT_PERMITS_S)
        return self._reading(circuit.breaker)

    def _reading(self, breaker: CircuitBreaker) -> CircuitReading:
        standing, window = breaker.standing, breaker.window
        now = self._clock.monotonic()
        window.forget_before(now - breaker.settings.window_s)
        closed = standing.state == "closed"
        left_s = standing.open_until - now
        is_open = breaker.state == "open"
        probes_left = None
        if breaker.state == "half_open":
            begun = standing.state == "half_open"
            probes_left = standing.permits if begun else breaker.settings.half_open_calls
        return CircuitReading(
            state=breaker.state,
            openings=standing.openings,
            open_until=self._clock.now() + timedelta(seconds=left_s) if is_open else None,
            probes_left=probes_left,
            calls=len(window),
            slow=window.slow(),
            failures=window.failures() if closed else standing.failures,
            devices=window.devices() if closed else standing.devices,
        )

    async def settled(self) -> None:
        """Return when what was told of calls so far has been passed on."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def close(self) -> None:
        """Pass on nothing more."""
        await end(self._tasks)
        if self._shared is not None:
            await self._shared.close()

    async def _circuit(
        self, tenant_id: TenantId, service_id: UUID, settings: BreakerSettings
    ) -> _Circuit:
        circuit = self._circuits.get(service_id)
        if circuit is None:
            circuit = self._circuits[service_id] = _Circuit(
                tenant_id, service_id, settings, self._clock.monotonic, self._settled
            )
            if len(self._circuits) > BREAKERS_MAX:
                self._circuits.popitem(last=False)
        else:
            self._circuits.move_to_end(service_id)
        circuit.breaker.settings = settings
        if not circuit.begun:
            async with circuit.exchanging:
                await self._begin(circuit)
        return circuit

    async def _begin(self, circuit: _Circuit) -> None:
        """Stand where the others are, or where the log says that the circuit stood."""
        if circuit.begun:
            return
        if self._shared is not None:
            await self._exchange(circuit)
        if self._recall is not None and not circuit.held:
            recalled = await self._recall(circuit.tenant_id, circuit.service_id)
            if recalled is not None and recalled.openings:
                left = recalled.open_until - self._clock.now()
                standing = Standing(
                    state="open",
                    generation=1,
                    openings=recalled.openings,
                    open_until=self._clock.monotonic() + max(0.0, left.total_seconds()),
                )
                circuit.noted = standing
                circuit.breaker.adopt(standing)
        circuit.begun = True

    def _settled(self, circuit: _Circuit, settled: Settled) -> None:
        """How a call went, from whoever made it."""
        breaker = circuit.breaker
        if self._shared is None:
            breaker.settle(settled)
            self._note(circuit)
        elif breaker.standing.state == "half_open":
            self._later(self._agreed(circuit, lambda: breaker.settle(settled)))
        else:
            before = breaker.standing
            breaker.settle(settled)
            if settled.generation == before.generation and settled.outcome in _TOLD:
                circuit.pending = [*circuit.pending[-PENDING_MAX:], settled]
            if settled.outcome == "failed" or breaker.standing is not before:
                self._later(self._hear_within(circuit, 0.0))

    async def _agreed(self, circuit: _Circuit, step: Callable[[], T]) -> T | None:
        """Do what changes where the circuit stands, once all agree that this is where it stood;
        None when others were quicker every time."""
        async with circuit.exchanging:
            for _ in range(TRIES):
                before = circuit.breaker.standing
                done = step()
                if circuit.breaker.standing is before or await self._exchange(circuit):
                    return done
            return None

    async def _exchange(self, circuit: _Circuit) -> bool:
        """Tell and hear. False when others changed where it stands before our change was told:
        then the circuit stands where they put it, and our change was not made."""
        assert self._shared is not None, "somebody shares"
        breaker, agreed = circuit.breaker, True
        for _ in range(TRIES):
            standing = breaker.standing
            changed = standing != circuit.known
            batch, circuit.pending = circuit.pending, []
            told = await self._shared.exchange(
                circuit.service_id,
                knows=circuit.held,
                standing=standing if changed else None,
                calls=batch,
                seen=list(breaker.seen()),
                after=circuit.after,
                window_s=breaker.settings.window_s,
            )
            circuit.heard_at = self._clock.monotonic()
            if told is None:
                break
            circuit.after = told.after
            if told.replaced:
                circuit.known, circuit.held = standing, told.held
            elif told.held != circuit.held:
                agreed = agreed and not (changed and told.held)
                self._hold(circuit, told)
            self._hear(circuit, told)
            if breaker.standing == circuit.known:
                break
        self._note(circuit)
        return agreed

    def _hold(self, circuit: _Circuit, told: Told) -> None:
        """Others changed where it stands; or Redis has forgotten, and is told again."""
        assert self._shared is not None, "somebody shares"
        circuit.held = told.held
        if not told.held:
            circuit.known = Standing()
            return
        circuit.known = self._shared.read(told.held)
        circuit.breaker.adopt(circuit.known)
        if circuit.known.state != "closed":
            # Whoever opened it has told of it; that it closes, one of us will.
            circuit.noted = circuit.known

    def _hear(self, circuit: _Circuit, told: Told) -> None:
        for device, at in told.seen:
            circuit.breaker.see(device, at)
        since = circuit.heard_at - circuit.breaker.settings.window_s
        for at, settled in told.calls:
            if at >= since:
                circuit.breaker.observe(settled, at)

    def _note(self, circuit: _Circuit) -> None:
        """Tell of an opening or a closing that nobody has told of yet."""
        before, after = circuit.noted, circuit.breaker.standing
        opened = after.state == "open" and after.openings > before.openings
        closed = after.state == "closed" and before.openings > 0
        if not (opened or closed):
            return
        circuit.noted = after
        if self._tell is not None:
            self._tell(
                CircuitChange(
                    tenant_id=circuit.tenant_id,
                    service_id=circuit.service_id,
                    before="closed" if not before.openings else "half_open",
                    after=after.state,
                    open_s=after.open_s,
                    openings=after.openings,
                    failures=after.failures,
                    devices=after.devices,
                    enforced=circuit.enforced,
                )
            )

    async def _hear_within(self, circuit: _Circuit, seconds: float) -> None:
        """Know what others knew so many seconds ago."""
        async with circuit.exchanging:
            if self._clock.monotonic() - circuit.heard_at >= seconds:
                await self._exchange(circuit)

    def _later(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(_only(work), name="circuit")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _only(work: Coroutine[Any, Any, object]) -> None:
    try:
        await work
    except Exception as error:
        _log.error("circuit_not_shared", exc_info=error)


_TOLD: Final = ("answered", "slow", "failed")
