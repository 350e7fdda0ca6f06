"""Any history of one transaction: requests, deaths, delays, losses, lies and time, in any order."""

from collections.abc import Coroutine
from typing import Any, Final

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from application.ports import AuthorizeFailure
from tests.protocol.drain import LONG_S, drain
from tests.protocol.ground import Ground
from tests.protocol.parties import Message
from tests.protocol.promises import Broken, check, check_end
from tests.protocol.scene import SENDS_MAX, Plant, Scene
from tests.protocol.workers import How, Worker

STEPS: Final = 40
LEASE_S: Final = 5.5
"""Beyond every lease, and within the sweeper's grace."""

NUMBERS: Final = st.integers(0, 3)
_HOW: Final[list[How]] = ["goes_on", "goes_on", "goes_on", "fails", "fails_after"]
HOW: Final = st.sampled_from(_HOW)
_FAILURES: Final[list[AuthorizeFailure]] = [
    "authorize_timeout",
    "connect_error",
    "product_5xx",
    "product_malformed",
]
FAILURES: Final = st.sampled_from(_FAILURES)


class Histories(RuleBasedStateMachine):
    """Rules are what may happen next; what must hold is checked after each of them."""

    def __init__(self, ground: Ground, plant: Plant) -> None:
        super().__init__()
        self._run = ground.run
        self._scene = Scene(ground.log, plant)
        self._broken = False
        self._late_first = False

    @initialize(allows=st.booleans() | st.just(value=True), late_first=st.booleans())
    def begin(self, *, allows: bool, late_first: bool) -> None:
        """`late_first`: at the end, what is still on its way arrives before the voids do."""
        self._scene.product.allows = allows
        self._late_first = late_first
        self._run(self._scene.device_asks())

    @precondition(lambda self: self._scene.device_waits and self._scene.sends < SENDS_MAX)
    @rule()
    def device_asks_again(self) -> None:
        self._run(self._scene.device_asks())

    @precondition(lambda self: self._scene.device_waits and self._scene.sends < SENDS_MAX)
    @rule(steps=st.integers(0, 4))
    def device_comes_back(self, steps: int) -> None:
        """After every lease is over, which single steps seldom come to."""
        self._scene.time_passes(LEASE_S)
        self._run(self._scene.device_asks())
        assert self._scene.listening is not None
        self._go_on(self._scene.listening, steps)

    @precondition(lambda self: self._scene.device_waits)
    @rule()
    def device_looks_up(self) -> None:
        self._run(self._scene.device_looks_up())

    @precondition(lambda self: self._scene.device_waits and self._scene.answer is not None)
    @rule()
    def device_hears(self) -> None:
        self._scene.device_hears()

    @precondition(lambda self: self._scene.device_waits)
    @rule()
    def device_gives_up(self) -> None:
        self._scene.gave_up = True

    @precondition(lambda self: not self._scene.device_waits and not self._scene.journaled)
    @rule()
    def device_journals(self) -> None:
        self._run(self._scene.device_journals())

    @precondition(lambda self: self._scene.workers.stopped)
    @rule(number=NUMBERS, how=HOW)
    def worker_goes_on(self, number: int, how: How) -> None:
        stopped = self._scene.workers.stopped
        self._run(self._scene.workers.go_on(stopped[number % len(stopped)], how))

    @precondition(lambda self: self._scene.workers.stopped)
    @rule(number=NUMBERS, steps=st.integers(2, 6))
    def worker_goes_on_for_a_while(self, number: int, steps: int) -> None:
        stopped = self._scene.workers.stopped
        self._go_on(stopped[number % len(stopped)], steps)

    @precondition(lambda self: self._scene.workers.running)
    @rule(number=NUMBERS)
    def worker_dies(self, number: int) -> None:
        running = self._scene.workers.running
        self._run(self._scene.workers.kill(running[number % len(running)]))

    @precondition(lambda self: self._scene.messages(on_its_way=True))
    @rule(number=NUMBERS)
    def product_hears(self, number: int) -> None:
        waiting = self._scene.messages(on_its_way=True)
        self._scene.product.hear(waiting[number % len(waiting)])

    @precondition(lambda self: self._scene.messages(on_its_way=True))
    @rule(number=NUMBERS)
    def message_is_lost(self, number: int) -> None:
        waiting = self._scene.messages(on_its_way=True)
        waiting[number % len(waiting)].lost = True

    @precondition(lambda self: self._scene.messages(on_its_way=True, awaited=True))
    @rule(number=NUMBERS)
    def product_hears_and_answers(self, number: int) -> None:
        waiting = self._scene.messages(on_its_way=True, awaited=True)
        message = waiting[number % len(waiting)]
        self._scene.product.hear(message)
        self._run(self._scene.product_answers(message))

    @precondition(lambda self: self._heard())
    @rule(number=NUMBERS)
    def product_answers(self, number: int) -> None:
        heard = self._heard()
        self._run(self._scene.product_answers(heard[number % len(heard)]))

    @precondition(lambda self: self._scene.messages(awaited=True))
    @rule(number=NUMBERS, failure=FAILURES)
    def call_breaks(self, number: int, failure: AuthorizeFailure) -> None:
        waiting = self._scene.messages(awaited=True)
        self._run(self._scene.call_breaks(waiting[number % len(waiting)], failure))

    @precondition(lambda self: self._scene.undecided)
    @rule(seconds=st.sampled_from([0.0, LONG_S]))
    def sweeper_comes(self, seconds: float) -> None:
        self._scene.time_passes(seconds)
        self._run(self._scene.sweep())

    @precondition(lambda self: self._scene.owes_void)
    @rule()
    def voids_are_delivered(self) -> None:
        self._run(self._scene.deliver_voids())

    @rule(seconds=st.sampled_from([0.5, 3.0, 6.0, 15.0]))
    def time_passes(self, seconds: float) -> None:
        self._scene.time_passes(seconds)

    @invariant()
    def every_promise_holds(self) -> None:
        self._checked(check(self._scene))

    def teardown(self) -> None:
        try:
            if not self._broken:
                self._run(drain(self._scene, late_first=self._late_first))
                self._checked(check_end(self._scene))
        finally:
            self._run(self._scene.workers.kill_all())

    def _go_on(self, worker: Worker, steps: int) -> None:
        for _ in range(steps):
            if worker.stops:
                self._run(self._scene.workers.go_on(worker))

    def _heard(self) -> list[Message]:
        return [each for each in self._scene.messages(awaited=True) if each.said is not None]

    def _checked(self, checking: Coroutine[Any, Any, None]) -> None:
        try:
            self._run(checking)
        except Broken:
            self._broken = True
            raise


def search(ground: Ground, plant: Plant, *, examples: int) -> None:
    """Run this many histories, the same ones each time. Raises Broken for the first that breaks."""

    class Machine(Histories):
        def __init__(self) -> None:
            super().__init__(ground, plant)
            ground.histories += 1

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            print_blob=False,
        ),
    )
