"""One scenario: a platform, its devices and its counterparts, and faults until the end."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

import msgspec
import numpy as np
import psycopg

from tests.chaos import counterparts, line, load, verifier
from tests.chaos.children import Child
from tests.chaos.findings import Findings
from tests.chaos.journal import Answered, JournalReader, Refused, Seen
from tests.chaos.planted import Bug
from tests.chaos.prepared import PALMS
from tests.chaos.stage import Stage, until

RECOVERY_S: Final = 90.0
DEADLINE_MS: Final = 1500
PATIENCE_S: Final = 15.0
SHORT_PATIENCE_S: Final = 3.0
"""Of devices that have another process to turn to."""

CUTS: Final = 3
"""Answers lost between commit and reply, in every stretch of load between two kills."""

DRAINED_S: Final = 180.0
"""How long voids may take once nothing dies any more; the last wait between two tries is 40 s."""

LONGEST_PAUSE_S: Final = 0.3
BETWEEN_MIN: Final = 20
BETWEEN_MAX: Final = 300
"""How many acknowledgements pass between two faults: any number from the first to the second."""


_IN_DOUBT: Final = """
    SELECT count(*) FILTER (WHERE state = 'pending' AND recorded_at < to_timestamp(%(until)s)),
           (SELECT position FROM delivery_positions WHERE kind = 'void') >=
               (SELECT coalesce(max(position), 0) FROM events
                WHERE recorded_at < to_timestamp(%(until)s)
                  AND name IN ('transaction.failed_closed', 'transaction.refused',
                               'transaction.void_requested'))
    FROM deliveries WHERE kind = 'void'
"""
"""Voids that are owed for what was decided until then, and whether all of those are known."""


class Scenario:
    """Enter it to have everything running; then strike (`faults`) as often as you like; `finish`.

    `platforms` processes serve, of which the first is the one that faults meet; `with_line` puts
    the line in between that can go wrong (`behave`).
    """

    def __init__(
        self,
        stage: Stage,
        name: str,
        *,
        bug: Bug | None,
        rate: float,
        lanes: int,
        seed: int,
        platforms: int = 1,
        with_line: bool = False,
    ) -> None:
        self.stage = stage
        self.name = name
        self._bug = bug
        self._platforms = platforms if bug is None else bug.platforms
        self._with_line = with_line if bug is None else bug.line
        self._rate = rate
        self._lanes = lanes
        self._seed = seed
        self.random = np.random.default_rng(seed)
        self.folder = stage.folder / f"scenario-{name}"
        self._stack = ExitStack()
        self._answers = 0
        self._seen: JournalReader[Seen] = JournalReader(self.folder / "devices.jsonl", Seen)
        self._heard: list[Answered | Refused] = []
        self._line: Child | None = None
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
        self.stage.database(self.name, None if self._bug is None else self._bug.database)
        ports = self.stage.ports
        self._verifier = self._child(
            "tests.chaos.verifier",
            self._order(
                "verifier",
                verifier.Order(
                    dsn=self.stage.dsn(self.name),
                    devices=str(self.folder / "devices.jsonl"),
                    product=str(self.folder / "product.jsonl"),
                ),
            ),
        )
        self._cutter = self._child("tests.chaos.cutter", str(ports.database), self.stage.socket)
        self._child(
            "tests.chaos.counterparts",
            self._order(
                "counterparts",
                counterparts.Order(
                    ports=(ports.behind_the_line,)
                    if self._with_line
                    else (ports.palm, ports.product),
                    enrolled=self.stage.prepared.enrolled,
                    journal=str(self.folder / "product.jsonl"),
                ),
            ),
        )
        if self._with_line:
            line_ports = (ports.behind_the_line, ports.palm, ports.product)
            self._line = self._child("tests.chaos.line", *(str(port) for port in line_ports))
        if self._bug is not None and self._bug.refused_at_start:
            self._see_it_refused()
        self._start_platform()
        self._stack.callback(lambda: self.platform.stop())
        if self._platforms == 2:
            self._stack.enter_context(self._platform(second=True)).hear()
        self._load = self._child(
            "tests.chaos.load",
            self._order(
                "load",
                load.Order(
                    ports=(ports.device, ports.second_device)[: self._platforms],
                    patience_s=PATIENCE_S if self._platforms == 1 else SHORT_PATIENCE_S,
                    ca_file=str(self.stage.ca_file),
                    tills=self.stage.prepared.tills,
                    lanes=self._lanes,
                    rate=self._rate,
                    palms=PALMS,
                    deadline_ms=DEADLINE_MS,
                    journal=str(self.folder / "devices.jsonl"),
                    seed=self._seed,
                ),
            ),
        )

    def let_through(self, cuts: int = CUTS) -> None:
        """Have some transactions answered, with so many answers of the database lost meanwhile."""
        began, before = time.monotonic(), self._count_answers()
        self._cutter.ask(cut=cuts)
        self.await_answers(int(self.random.integers(BETWEEN_MIN, BETWEEN_MAX)))
        self.pause()
        self.load_s += time.monotonic() - began
        self.load_answers += self._count_answers() - before

    def pause(self) -> None:
        """For a moment that nobody could foresee."""
        time.sleep(float(self.random.uniform(0, LONGEST_PAUSE_S)))

    def after_platform(self) -> Findings:
        """The log is checked as the crash left it, before anybody can mend it."""
        self.stage.await_no_backends(self.name)
        found = self.check()
        self._start_platform()
        self.await_answers(1)
        return found

    def behave(self, party: line.Party, mode: line.Mode) -> int:
        """How many requests met what the party did until now; from now on it does this."""
        assert self._line is not None, "this scenario has no line"
        return int(self._line.ask(party=party, mode=mode)["met"])

    def settle(self) -> float:
        """Until whatever is in doubt at this moment is settled, and how many seconds that took.

        In doubt is a transaction that a product was asked about and whose answer it may not have
        heard: that owes a void, or will, since what is being asked now may yet run out of time.
        """
        began = time.time()
        asked_until = began + DEADLINE_MS / 1000
        with psycopg.connect(self.stage.dsn(self.name), autocommit=True) as connection:

            def settled() -> bool:
                row = connection.execute(_IN_DOUBT, {"until": asked_until}).fetchone()
                return time.time() > asked_until and row == (0, True)

            self.until(settled, "something stays in doubt")
        return time.time() - began

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

    def await_answers(self, count: int) -> None:
        """Until `count` devices have heard something that they had not heard before."""
        self._count_answers()
        wanted = self._answers + count
        self.until(lambda: self._count_answers() >= wanted, f"no {count} answers in {RECOVERY_S} s")

    def until(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Wait for it while the platform lives. Raises PlatformDied and TookTooLong."""

        def come() -> bool:
            if not self.platform.alive:
                raise PlatformDied(self.platform.reasons())
            return condition()

        until(come, RECOVERY_S, otherwise)

    def heard(self) -> Sequence[Answered | Refused]:
        """Everything that devices have been told since this was asked last."""
        self._count_answers()
        heard, self._heard = self._heard, []
        return heard

    def _count_answers(self) -> int:
        for each in self._seen.read():
            if isinstance(each, Answered | Refused):
                self._heard.append(each)
            self._answers += isinstance(each, Answered) and not each.again
        return self._answers

    def _start_platform(self) -> None:
        self.platform = self._platform()
        self.platform.hear()

    def _platform(self, *, second: bool = False) -> Child:
        program = ["interfaces"] if self._bug is None else ["tests.chaos.planted", self.name]
        return Child(
            *program,
            "serve",
            "--json",
            log=self.folder / ("second.log" if second else "platform.log"),
            environment=self.stage.environment(self.name, second=second),
        )

    def _see_it_refused(self) -> None:
        refused = Child(
            "interfaces",
            "serve",
            "--json",
            log=self.folder / "refused.log",
            environment=self.stage.environment(self.name),
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
