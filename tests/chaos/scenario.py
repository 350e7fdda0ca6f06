"""One scenario: a platform, its devices and its counterparts, and faults until the end."""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

import msgspec
import numpy as np

from tests.chaos import counterparts, load, verifier
from tests.chaos.children import Child
from tests.chaos.findings import Findings
from tests.chaos.journal import Answered, JournalReader, Seen
from tests.chaos.planted import Bug, Fault
from tests.chaos.stage import PALMS, Stage, until

RECOVERY_S: Final = 90.0
DEADLINE_MS: Final = 1500
CUTS: Final = 3
"""Answers lost between commit and reply, in every stretch of load between two kills."""

DRAINED_S: Final = 180.0
"""How long voids may take once nothing dies any more; the last wait between two tries is 40 s."""

LONGEST_PAUSE_S: Final = 0.3
BETWEEN_MIN: Final = 20
BETWEEN_MAX: Final = 300
"""How many acknowledgements pass between two faults: any number from the first to the second."""


class Scenario:
    """Enter it to have everything running; then `strike` as often as you like, then `finish`."""

    def __init__(
        self, stage: Stage, name: str, *, bug: Bug | None, rate: float, lanes: int, seed: int
    ) -> None:
        self._stage = stage
        self._name = name
        self._bug = bug
        self._rate = rate
        self._lanes = lanes
        self._seed = seed
        self._random = np.random.default_rng(seed)
        self.folder = stage.folder / name
        self._stack = ExitStack()
        self._answers = 0
        self._seen: JournalReader[Seen] = JournalReader(self.folder / "devices.jsonl", Seen)
        self.kills = 0
        self.cuts = 0
        self.load_s = 0.0
        """How long devices were at it while the platform was there for them."""

        self.drained_s = 0.0
        """How long it took until no charge was left that nobody saw an allow for."""

        self.load_answers = 0
        """How many new answers they had in that time."""

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _begin(self) -> None:
        self.folder.mkdir()
        self._stage.database(self._name, None if self._bug is None else self._bug.database)
        ports = self._stage.ports
        self._verifier = self._child(
            "tests.chaos.verifier",
            self._order(
                "verifier",
                verifier.Order(
                    dsn=self._stage.dsn(self._name),
                    devices=str(self.folder / "devices.jsonl"),
                    product=str(self.folder / "product.jsonl"),
                ),
            ),
        )
        self._cutter = self._child("tests.chaos.cutter", str(ports.database), self._stage.socket)
        self._child(
            "tests.chaos.counterparts",
            self._order(
                "counterparts",
                counterparts.Order(
                    port=ports.counterparts,
                    enrolled=self._stage.prepared.enrolled,
                    journal=str(self.folder / "product.jsonl"),
                ),
            ),
        )
        if self._bug is not None and self._bug.refused_at_start:
            self._see_it_refused()
        self._start_platform()
        self._stack.callback(lambda: self._platform.stop())
        self._load = self._child(
            "tests.chaos.load",
            self._order(
                "load",
                load.Order(
                    port=ports.device,
                    ca_file=str(self._stage.ca_file),
                    tills=self._stage.prepared.tills,
                    lanes=self._lanes,
                    rate=self._rate,
                    palms=PALMS,
                    deadline_ms=DEADLINE_MS,
                    journal=str(self.folder / "devices.jsonl"),
                    seed=self._seed,
                ),
            ),
        )

    def strike(self, fault: Fault) -> Findings:
        """Let some transactions through, do it, see the platform back, and check everything."""
        began, before = time.monotonic(), self._count_answers()
        cuts = int(self._random.integers(10, 20)) if fault == "cut" else CUTS
        self._cutter.ask(cut=cuts)
        self._await_answers(int(self._random.integers(BETWEEN_MIN, BETWEEN_MAX)))
        time.sleep(float(self._random.uniform(0, LONGEST_PAUSE_S)))
        self.load_s += time.monotonic() - began
        self.load_answers += self._count_answers() - before
        self.kills += fault != "cut"
        match fault:
            case "platform":
                return self._kill_platform()
            case "power":
                self._stage.kill_postmaster()
                time.sleep(float(self._random.uniform(0, LONGEST_PAUSE_S)))
                self._platform.kill()
                self._stage.start_postgres()
                return self._after_platform()
            case "backend":
                backends = self._stage.backends(self._name)
                victim = backends[int(self._random.integers(len(backends)))]
                os.kill(victim, signal.SIGKILL)
                self._stage.await_postgres(self._name, backends)
            case "postmaster":
                self._stage.kill_postmaster()
                self._stage.start_postgres()
            case "cut":
                pass
        self._await_answers(1)
        return self.check()

    def _kill_platform(self) -> Findings:
        self._platform.kill()
        return self._after_platform()

    def _after_platform(self) -> Findings:
        """The log is checked as the crash left it, before anybody can mend it."""
        self._stage.await_no_backends(self._name)
        found = self.check()
        self._start_platform()
        self._await_answers(1)
        return found

    def check(self) -> Findings:
        return self._ask_verifier(last=False)

    def finish(self) -> Findings:
        """Let the devices have their answers and the product its voids, then compare everything.

        Read models included, and nothing may be left that somebody was charged for in vain.
        """
        self._load.order(do="stop")
        journals_left = int(self._load.hear()["journals_left"])
        self._load.end()
        self.cuts = int(self._cutter.ask(cut=0)["cut"])
        began = time.monotonic()
        while self.check().orphan_charges and time.monotonic() - began < DRAINED_S:
            time.sleep(0.5)
        self.drained_s = time.monotonic() - began
        found = self._ask_verifier(last=True)
        return msgspec.structs.replace(
            found, orphans_left=found.orphan_charges, journals_left=journals_left
        )

    def _ask_verifier(self, *, last: bool) -> Findings:
        return msgspec.convert(self._verifier.ask(check=last), Findings)

    def _await_answers(self, count: int) -> None:
        """Until `count` devices have heard something that they had not heard before."""
        self._count_answers()
        wanted = self._answers + count

        def enough() -> bool:
            if not self._platform.alive:
                raise PlatformDied(self._platform.reasons())
            return self._count_answers() >= wanted

        until(enough, RECOVERY_S, f"no {count} answers in {RECOVERY_S} s")

    def _count_answers(self) -> int:
        self._answers += sum(
            isinstance(line, Answered) and not line.again for line in self._seen.read()
        )
        return self._answers

    def _start_platform(self) -> None:
        program = ["interfaces"] if self._bug is None else ["tests.chaos.planted", self._name]
        self._platform = Child(
            *program,
            "serve",
            "--json",
            log=self.folder / "platform.log",
            environment=self._stage.environment(self._name),
        )
        self._platform.hear()

    def _see_it_refused(self) -> None:
        refused = Child(
            "interfaces",
            "serve",
            "--json",
            log=self.folder / "refused.log",
            environment=self._stage.environment(self._name),
        )
        code = refused.end()
        if code != 2 or "synchronous_commit" not in refused.reasons():
            raise AssertionError(f"an unsafe database was not refused ({code})")

    def _child(self, module: str, *arguments: str) -> Child:
        child = Child(module, *arguments, log=self.folder / f"{module}.log")
        self._stack.enter_context(child)
        child.hear()
        return child

    def _order(self, name: str, order: msgspec.Struct) -> str:
        path = self.folder / f"{name}.json"
        path.write_bytes(msgspec.json.encode(order))
        return str(path)


class PlatformDied(Exception):
    """It ended by itself, which nothing that happens here is a reason for."""


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
