"""What a run says at its end: one summary in a fixed form, and all figures with their n."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from tests.chaos.findings import Findings
from tests.chaos.scenario import Scenario


class Report:
    """Grows while the run goes on."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.faults: Counter[str] = Counter()
        self.found: Findings | None = None
        self.finished = False
        self.seconds = 0.0
        self.load_s = 0.0
        self.load_answers = 0
        self.cuts = 0
        self.drained_s = 0.0
        self.planted: dict[str, int | None] = {}

    def take(self, fault: str | None, scenario: Scenario, found: Findings, seconds: float) -> None:
        """The findings after a fault, or (with None) at the end."""
        if fault is None:
            self.finished = True
        else:
            self.faults[fault] += 1
        self.found, self.seconds = found, seconds
        self.load_s, self.load_answers = scenario.load_s, scenario.load_answers
        self.cuts = scenario.cuts
        self.drained_s = scenario.drained_s

    @property
    def kills(self) -> int:
        return self.faults.total()

    @property
    def good(self) -> bool:
        """Nothing promised was broken, the run came to its end, every planted bug was caught."""
        honest = self.found is None or (self.finished and not self.found.violations())
        return honest and None not in self.planted.values()

    def summary(self) -> dict[str, int]:
        """The last line of a run with --json."""
        found = self.found
        return {
            "kills": self.kills,
            "acknowledged": 0 if found is None else found.acknowledged,
            "lost": 0 if found is None else found.lost + found.rewound + found.changed,
            "gaps": 0 if found is None else found.gaps + found.nonsense,
            "extra_charges": 0 if found is None else found.extra_charges,
            "orphan_charges": 0 if found is None else found.orphan_charges,
            "uncommitted_allows": 0 if found is None else found.uncommitted_allows,
            "planted_caught": sum(after is not None for after in self.planted.values()),
            "planted_total": len(self.planted),
        }

    def details(self) -> dict[str, Any]:
        """Everything, for whoever wants to know more than the summary."""
        return {
            "seed": self.seed,
            "faults": dict(self.faults),
            "cuts": self.cuts,
            "drained_s": round(self.drained_s, 1),
            "seconds": round(self.seconds, 1),
            "acknowledged_per_s": self.rate(),
            "acknowledged_per_s_between_faults": self.rate_between(),
            "violations": {} if self.found is None else self.found.violations(),
            "findings": msgspec.to_builtins(self.found),
            "planted": self.planted,
        }

    def rate(self) -> float:
        """Acknowledged transactions a second over the whole run, recoveries included."""
        if self.found is None:
            return 0.0
        return round(self.found.acknowledged / self.seconds, 1)

    def rate_between(self) -> float:
        """As `rate`, only for the stretches between a recovery and the next fault."""
        return round(self.load_answers / self.load_s, 1) if self.load_s else 0.0


def honest_lines(report: Report) -> Sequence[str]:
    """The outcome of the honest scenario, for people."""
    found = report.found
    if found is None:
        return ()
    verdict = "every promise held" if report.good else f"BROKEN: {found.violations()}"
    return (
        f"{verdict} (n = {report.kills} kills, {report.cuts} cuts, {found.acknowledged} answers,"
        f" {found.events} events, {report.seconds:.0f} s, seed {report.seed})",
        f"answers a second: {report.rate_between()} between faults, {report.rate()} over all",
        f"charges without an allow that a device saw: {found.orphan_charges} of {found.charges},"
        f" after {found.voids} voids; the last was settled {report.drained_s:.0f} s after the last"
        f" answer; {found.given_up} devices gave up, {found.journaled} journal lines taken",
        *found.evidence,
    )


def planted_line(name: str, caught_after: int | None) -> str:
    """How one planted bug fared."""
    if caught_after is None:
        return f"planted {name}: NOT CAUGHT"
    return f"planted {name}: caught after {caught_after} fault{'s'[: caught_after != 1]}"
