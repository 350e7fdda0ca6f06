"""The circuit breaker, driven by hand on a clock of the test's own."""

from uuid import UUID

import pytest

from domain.circuit import CircuitState, FailureCounts
from domain.ids import DeviceId
from domain.linked_service import BreakerSettings
from infrastructure.circuits.circuit_breaker import (
    LONE_S,
    PROBE_MAX_S,
    CircuitBreaker,
    Outcome,
    Permit,
    Standing,
)

A, B, C = (DeviceId(UUID(int=number)) for number in (1, 2, 3))
SETTINGS = BreakerSettings(
    window_s=30,
    min_calls=10,
    failure_rate=0.5,
    slow_rate=0.8,
    consecutive_failures=4,
    open_s=10,
    open_max_s=35,
    half_open_calls=2,
)


class Bench:
    """A breaker with its clock and what it has said of its changes."""

    def __init__(self, settings: BreakerSettings = SETTINGS) -> None:
        self.now = 1000.0
        self.changes: list[tuple[CircuitState, CircuitState, float]] = []
        self.breaker = CircuitBreaker(settings, lambda: self.now)

    def note(self, before: Standing) -> None:
        after = self.breaker.standing
        if before.state != after.state:
            open_s = after.open_until - self.now if after.state == "open" else 0.0
            self.changes.append((before.state, after.state, open_s))

    def state(self) -> CircuitState:
        return self.breaker.state

    def admit(self, device: DeviceId = A) -> Permit:
        before = self.breaker.standing
        permit = self.breaker.admit(device)
        self.note(before)
        assert permit is not None
        return permit

    def call(self, outcome: Outcome, *devices: DeviceId, retry_after_s: float = 0.0) -> None:
        for device in devices or (A,):
            permit = self.admit(device)
            before = self.breaker.standing
            permit.settle(outcome, retry_after_s)
            self.note(before)

    def trip(self) -> None:
        self.call("failed", A, B, A, B)
        assert self.state() == "open"


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_run_of_failures_of_two_devices_opens_the_circuit(bench: Bench) -> None:
    bench.call("failed", A, B, A)
    assert bench.state() == "closed"
    bench.call("failed", B)
    assert bench.state() == "open"
    assert bench.breaker.admit(A) is None
    assert bench.changes == [("closed", "open", 10.0)]


def test_a_success_ends_a_run(bench: Bench) -> None:
    bench.call("failed", A, B, A)
    bench.call("answered", B)
    bench.call("failed", A, B, A)
    assert bench.state() == "closed"


def test_one_device_alone_cannot_open_the_circuit_for_the_others(bench: Bench) -> None:
    """With one weight per failure instead of per device (`most = needed`) this opens at four."""
    bench.call("answered", B)
    bench.call("failed", *[A] * 500)
    assert bench.state() == "closed"


def test_one_device_and_a_single_mishap_of_another_do_not_open_the_circuit(bench: Bench) -> None:
    bench.call("answered", B, B)
    bench.call("failed", *[A] * 8, B, *[A] * 8)
    assert bench.state() == "closed"


def test_also_where_one_failure_is_enough_it_takes_two_devices() -> None:
    bench = Bench(BreakerSettings(consecutive_failures=1, min_calls=1000))
    bench.call("answered", B)
    bench.call("failed", A, A, A)
    assert bench.state() == "closed"
    bench.call("failed", B)
    assert bench.state() == "open"


def test_a_device_that_is_alone_counts_in_full(bench: Bench) -> None:
    bench.call("failed", A, A, A)
    assert bench.state() == "closed"
    bench.call("failed", A)
    assert bench.state() == "open"


def test_a_device_is_alone_when_no_other_has_called_for_an_hour(bench: Bench) -> None:
    bench.call("answered", B)
    bench.now += LONE_S
    bench.call("failed", A, A, A, A)
    assert bench.state() == "closed"
    bench.now += 1
    bench.call("failed", A)
    assert bench.state() == "open"


def test_a_failure_rate_opens_the_circuit_without_a_run(bench: Bench) -> None:
    for _ in range(3):
        bench.call("answered", A, B)
        assert bench.state() == "closed"
        bench.call("failed", A, B)
    assert bench.state() == "open"


def test_a_rate_needs_enough_calls() -> None:
    bench = Bench(BreakerSettings(min_calls=100, consecutive_failures=1000))
    bench.call("failed", *[A, B] * 49)
    assert bench.state() == "closed"
    bench.call("failed", A, B)
    assert bench.state() == "open"


def test_a_busy_failing_device_weighs_no_more_than_a_quiet_healthy_one() -> None:
    """With failures counted by call, 201 of 205 would be far above the rate; with the worst device
    left in, the mean of 1, 1/3 and 1/3 is above it too."""
    bench = Bench(BreakerSettings(consecutive_failures=1000))
    bench.call("failed", B, C)
    bench.call("answered", B, B, C, C)
    bench.call("failed", *[A] * 200)
    assert bench.state() == "closed"


def test_calls_outside_of_the_window_are_forgotten() -> None:
    bench = Bench(BreakerSettings(consecutive_failures=1000))
    bench.call("failed", A, B, A, B, A, B, A, B, A)
    bench.now += 31
    bench.call("failed", B)
    assert bench.state() == "closed"


def test_slow_answers_open_the_circuit_by_their_own_rate(bench: Bench) -> None:
    bench.call("slow", *[A, B] * 4, A)
    assert bench.state() == "closed"
    bench.call("slow", B)
    assert bench.state() == "open"


@pytest.mark.parametrize("outcome", ["cancelled", "refused"])
def test_a_cancelled_call_and_a_refusal_do_not_count(bench: Bench, outcome: Outcome) -> None:
    """With `cancelled` counted as `failed` (as one library does) six of them open the circuit."""
    bench.call(outcome, *[A, B] * 50)
    assert bench.state() == "closed"
    bench.call("failed", A, B, A)
    bench.call(outcome, B, A)
    bench.call("failed", B)
    assert bench.state() == "open"


def test_an_opening_runs_its_time_and_then_half_opens(bench: Bench) -> None:
    bench.trip()
    bench.now += 9.9
    assert bench.breaker.admit(A) is None
    bench.now += 0.1
    assert bench.state() == "half_open"
    bench.admit(A)
    assert bench.changes[-1][:2] == ("open", "half_open")


def test_half_open_lets_through_as_many_calls_as_are_permitted_and_no_more(bench: Bench) -> None:
    bench.trip()
    bench.now += 10
    permits = [bench.breaker.admit(C) for _ in range(50)]
    assert sum(permit is not None for permit in permits) == 2


def test_enough_successes_close_the_circuit(bench: Bench) -> None:
    bench.trip()
    bench.now += 10
    first, second = bench.admit(A), bench.admit(B)
    first.settle("answered")
    assert bench.state() == "half_open"
    second.settle("slow")
    assert bench.state() == "closed"
    bench.call("failed", A, B, A)
    assert bench.state() == "closed"


def test_a_failed_probe_opens_again_for_longer_up_to_a_limit(bench: Bench) -> None:
    bench.trip()
    for expected in (20.0, 35.0, 35.0):
        bench.now += 35
        bench.call("failed", C if bench.changes[-1][2] != 20.0 else A)
        assert bench.changes[-1] == ("half_open", "open", expected)


def test_a_closed_circuit_forgets_how_often_it_was_open(bench: Bench) -> None:
    bench.trip()
    bench.now += 10
    bench.call("answered", A, B)
    bench.trip()
    assert bench.changes[-1] == ("closed", "open", 10.0)


def test_a_cancelled_probe_gives_its_permit_back(bench: Bench) -> None:
    bench.trip()
    bench.now += 10
    first, _ = bench.admit(A), bench.admit(B)
    assert bench.breaker.admit(C) is None
    first.settle("cancelled")
    assert bench.breaker.admit(C) is not None
    assert bench.breaker.admit(C) is None


def test_a_product_that_refuses_is_alive(bench: Bench) -> None:
    bench.trip()
    bench.now += 10
    bench.call("refused", A, B)
    assert bench.state() == "closed"


def test_the_device_whose_probe_failed_stands_back_for_the_others(bench: Bench) -> None:
    bench.trip()
    bench.now += 10
    bench.call("failed", A)
    bench.now += 20
    bench.call("answered", B)
    assert bench.breaker.admit(A) is None
    bench.call("answered", B)
    assert bench.state() == "closed"


def test_the_device_whose_probe_failed_is_let_through_when_nobody_else_comes(bench: Bench) -> None:
    bench.trip()
    bench.now += 10
    bench.call("failed", A)
    bench.now += 20
    assert bench.breaker.admit(A) is None
    bench.now += 10
    assert bench.breaker.admit(A) is not None


def test_a_lone_device_never_stands_back(bench: Bench) -> None:
    bench.call("failed", A, A, A, A)
    bench.now += 10
    bench.call("failed", A)
    bench.now += 20
    assert bench.breaker.admit(A) is not None


def test_a_call_permitted_before_the_opening_says_nothing_of_the_time_after(bench: Bench) -> None:
    straggler = bench.admit(C)
    bench.trip()
    bench.now += 10
    probe = bench.admit(A)
    straggler.settle("failed")
    assert bench.state() == "half_open"
    probe.settle("answered")
    bench.call("answered", B)
    assert bench.state() == "closed"


def test_a_permit_is_settled_once(bench: Bench) -> None:
    permit = bench.admit(A)
    for _ in range(50):
        permit.settle("failed")
    assert bench.state() == "closed"


def test_retry_after_lengthens_an_opening_within_its_limit() -> None:
    bench = Bench()
    bench.call("failed", A, B, A)
    bench.call("failed", B, retry_after_s=25)
    assert bench.changes == [("closed", "open", 25.0)]
    bench = Bench()
    bench.call("failed", A, B, A)
    bench.call("failed", B, retry_after_s=86_400)
    assert bench.changes == [("closed", "open", 35.0)]


def test_the_opening_says_how_the_calls_failed_and_of_how_many_devices(bench: Bench) -> None:
    bench.call("answered", C)
    bench.admit(A).settle("failed", 0.0, "connect_error")
    bench.admit(B).settle("failed", 0.0, "product_5xx")
    bench.admit(A).settle("failed", 0.0, "connect_error")
    bench.call("failed", B)
    standing = bench.breaker.standing
    assert standing.devices == 2
    assert standing.failures == FailureCounts(connect_error=2, product_5xx=1, authorize_timeout=1)


def test_a_permit_whose_holder_died_comes_back(bench: Bench) -> None:
    """Without the limit a circuit whose probes died with their process stays shut for ever."""
    bench.trip()
    bench.now += 10
    lost = [bench.admit(C), bench.admit(C)]
    bench.now += PROBE_MAX_S
    assert bench.breaker.admit(A) is None
    bench.now += 0.1
    assert bench.breaker.admit(A) is not None
    for permit in lost:
        permit.settle("failed")
    assert bench.state() == "half_open", "what the dead would have said is of another generation"
