"""Each fault: what is done, what must come back by itself, and the check after it."""

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from tests.chaos.findings import Findings
from tests.chaos.journal import Answered, Refused
from tests.chaos.line import MODES, Mode, Party
from tests.chaos.planted import Fault
from tests.chaos.scenario import DEADLINE_MS, Scenario

FROZEN_S: Final = 6.0
"""Longer than a lease (the deadline and two seconds), so that somebody takes over meanwhile."""

REDIS_FROZEN_S: Final = 3.0
SETTLED_S: Final = 60.0
"""After a product is back, nothing that was in doubt may be so for longer."""

TOLD_MIN: Final = 25
"""How many devices hear something while a party misbehaves."""

HARMLESS: Final = ("palm", "wrong_type")
"""The vendor's protocol names no media type; what does not read as its answer is none."""


def strike(scenario: Scenario, fault: Fault) -> Findings:
    """Let some transactions through, do it, see everything back, and check."""
    scenario.let_through(*((int(scenario.random.integers(10, 20)),) if fault == "cut" else ()))
    return _FAULTS[fault](scenario)


def _platform(scenario: Scenario) -> Findings:
    scenario.platform.kill()
    return scenario.after_platform()


def _power(scenario: Scenario) -> Findings:
    scenario.stage.kill_postmaster()
    scenario.pause()
    scenario.platform.kill()
    scenario.stage.start_postgres()
    return scenario.after_platform()


def _backend(scenario: Scenario) -> Findings:
    backends = scenario.stage.backends(scenario.name)
    os.kill(backends[int(scenario.random.integers(len(backends)))], signal.SIGKILL)
    scenario.stage.await_postgres(scenario.name, backends)
    return _went_on(scenario)


def _postmaster(scenario: Scenario) -> Findings:
    scenario.stage.kill_postmaster()
    scenario.stage.start_postgres()
    return _went_on(scenario)


def _cut(scenario: Scenario) -> Findings:
    return _went_on(scenario)


def _freeze(scenario: Scenario) -> Findings:
    """The other process takes over what this one has in hand; then it wakes up and goes on."""
    scenario.platform.freeze()
    try:
        time.sleep(FROZEN_S)
        scenario.await_answers(20)
    finally:
        scenario.platform.thaw()
    return _went_on(scenario)


def _redis_killed(scenario: Scenario) -> Findings:
    scenario.stage.kill_redis()
    try:
        scenario.await_answers(20)
    finally:
        scenario.stage.start_redis()
    return _went_on(scenario)


def _redis_flushed(scenario: Scenario) -> Findings:
    scenario.stage.flush_redis()
    return _went_on(scenario)


def _redis_frozen(scenario: Scenario) -> Findings:
    redis = scenario.stage.redis_process()
    os.kill(redis, signal.SIGSTOP)
    try:
        time.sleep(REDIS_FROZEN_S)
        scenario.await_answers(20)
    finally:
        os.kill(redis, signal.SIGCONT)
    return _went_on(scenario)


def _fsync(scenario: Scenario) -> Findings:
    """The next sync of the write-ahead log fails, once: the server panics and recovers."""
    backends = scenario.stage.backends(scenario.name)
    scenario.stage.fail_one_fsync()
    scenario.until(scenario.stage.fsync_has_failed, "nobody synced the log")
    scenario.stage.await_postgres(scenario.name, backends)
    return _went_on(scenario)


def _disk(scenario: Scenario) -> Findings:
    """No room is left until devices have been told so (503) for a while; then there is again."""
    scenario.heard()
    told: list[Refused] = []

    def refused() -> bool:
        told.extend(each for each in scenario.heard() if isinstance(each, Refused))
        return len(told) >= TOLD_MIN

    scenario.stage.fill_disk()
    try:
        scenario.until(refused, "nobody notices that the disk is full")
    finally:
        scenario.stage.empty_disk()
    scenario.stage.start_postgres()
    return _went_on(scenario)


def _product(scenario: Scenario) -> Findings:
    return misbehave(scenario, "product", "fails")[1]


def _went_on(scenario: Scenario) -> Findings:
    scenario.await_answers(1)
    return scenario.check()


_FAULTS: Final[Mapping[Fault, Callable[[Scenario], Findings]]] = {
    "platform": _platform,
    "power": _power,
    "backend": _backend,
    "postmaster": _postmaster,
    "cut": _cut,
    "freeze": _freeze,
    "redis_killed": _redis_killed,
    "redis_flushed": _redis_flushed,
    "redis_frozen": _redis_frozen,
    "fsync": _fsync,
    "disk": _disk,
    "product": _product,
}


class Misbehaved(msgspec.Struct, frozen=True, kw_only=True):
    """What devices heard while a party misbehaved: `told` answers, of which `in_time` came within
    the deadline and 100 ms; the slowest took `slowest_ms`. What was in doubt when the party was
    fair again was settled `settled_s` after that."""

    party: Party
    mode: Mode
    met: int
    told: int
    in_time: int
    slowest_ms: float
    settled_s: float


def misbehave(scenario: Scenario, party: Party, mode: Mode) -> tuple[Misbehaved, Findings]:
    """Have a party go wrong for a while. Nothing may be allowed that was begun in that time."""
    scenario.let_through()
    scenario.behave(party, mode)
    began = time.time()
    heard: list[Answered | Refused] = []

    def enough() -> bool:
        heard.extend(each for each in scenario.heard() if each.at - each.ms / 1000 > began)
        return len(heard) >= TOLD_MIN

    scenario.until(enough, f"devices hear nothing while {party} {mode}")
    met = scenario.behave(party, "fair")
    settled_s = scenario.settle()
    opened = [
        each
        for each in heard
        if isinstance(each, Answered) and not each.replayed and '"decision":"allow"' in each.body
    ]
    if (party, mode) == HARMLESS:
        opened.clear()
    slow = [each.ms for each in heard]
    found = _went_on(scenario)
    figures = Misbehaved(
        party=party,
        mode=mode,
        met=met,
        told=len(heard),
        in_time=sum(ms <= DEADLINE_MS + 100 for ms in slow),
        slowest_ms=max(slow),
        settled_s=settled_s,
    )
    late = int(settled_s > SETTLED_S)
    return figures, msgspec.structs.replace(found, opened_in_vain=len(opened), settled_late=late)


def misbehaviours() -> Sequence[tuple[Party, Mode]]:
    """Both parties, in all twelve ways."""
    parties: tuple[Party, ...] = ("product", "palm")
    return [(party, mode) for party in parties for mode in MODES if mode != "fair"]


def plan(kills: int, seed: int) -> Sequence[Fault]:
    """A shuffled mix: mostly the platform, every kind at least once where there is room."""
    mix: tuple[Fault, ...] = (
        "platform",
        "backend",
        "postmaster",
        "power",
        "platform",
        "platform",
        "platform",
        "backend",
        "platform",
        "platform",
    )
    faults: list[Fault] = [mix[number % len(mix)] for number in range(kills)]
    order = np.random.default_rng(seed).permutation(kills)
    return [faults[int(number)] for number in order]
