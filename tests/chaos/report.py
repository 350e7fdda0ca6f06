"""What a run says at its end: one summary in a fixed form, and all figures with their n."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tests.chaos.faults import Misbehaved
from tests.chaos.findings import Findings
from tests.chaos.scenario import Scenario

KILLS: Final = ("platform", "backend", "postmaster", "power")
"""The faults that are kills in the summary."""


class Report:
    """Of one scenario; grows while it goes on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.faults: Counter[str] = Counter()
        self.found: Findings | None = None
        self.finished = False
        self.seconds = self.load_s = self.drained_s = 0.0
        self.load_answers = self.cuts = 0
        self.misbehaved: list[Misbehaved] = []
        self.opened_in_vain = 0

    def take(self, fault: str | None, scenario: Scenario, found: Findings, seconds: float) -> None:
        """The findings after a fault, or (with None) at the end."""
        if fault is None:
            self.finished = True
        else:
            self.faults[fault] += 1
        self.found, self.seconds = found, seconds
        self.opened_in_vain += found.opened_in_vain
        self.load_s, self.load_answers = scenario.load_s, scenario.load_answers
        self.cuts, self.drained_s = scenario.cuts, scenario.drained_s

    @property
    def trials(self) -> int:
        return self.faults.total()

    @property
    def good(self) -> bool:
        """Nothing promised was broken, and the scenario came to its end."""
        found = self.found
        return found is not None and self.finished and not found.violations()

    def rate(self) -> float:
        """Acknowledged transactions a second over the whole scenario, recoveries included."""
        if self.found is None or not self.seconds:
            return 0.0
        return round(self.found.acknowledged / self.seconds, 1)

    def rate_between(self) -> float:
        """As `rate`, only for the stretches between a recovery and the next fault."""
        return round(self.load_answers / self.load_s, 1) if self.load_s else 0.0

    def details(self) -> dict[str, Any]:
        return {
            "scenario": self.name,
            "faults": dict(self.faults),
            "cuts": self.cuts,
            "drained_s": round(self.drained_s, 1),
            "seconds": round(self.seconds, 1),
            "acknowledged_per_s": self.rate(),
            "acknowledged_per_s_between_faults": self.rate_between(),
            "violations": {} if self.found is None else self.found.violations(),
            "findings": msgspec.to_builtins(self.found),
            "misbehaved": msgspec.to_builtins(self.misbehaved),
        }

    def lines(self) -> Sequence[str]:
        """For people."""
        found = self.found
        if found is None:
            return ()
        verdict = "every promise held" if self.good else f"BROKEN: {found.violations()}"
        lines = [
            f"{self.name}: {verdict} (n = {self.trials} faults, {self.cuts} cuts,"
            f" {found.acknowledged} answers, {found.events} events, {self.seconds:.0f} s)",
            f"answers a second: {self.rate_between()} between faults, {self.rate()} over all",
            f"charges without an allow that a device saw: {found.orphan_charges} of"
            f" {found.charges}, after {found.voids} voids; the last was settled"
            f" {self.drained_s:.0f} s after the last answer; {found.given_up} devices gave up,"
            f" {found.journaled} journal lines taken",
        ]
        if self.misbehaved:
            told = sum(each.told for each in self.misbehaved)
            in_time = sum(each.in_time for each in self.misbehaved)
            slowest = max(each.slowest_ms for each in self.misbehaved)
            lines.append(
                f"while a counterpart misbehaved devices heard {told} answers, {in_time} of them"
                f" within the deadline and 100 ms, the slowest after {slowest:.0f} ms"
            )
            longest = max(each.settled_s for each in self.misbehaved)
            lines.append(
                f"what was in doubt when the counterpart was back was settled {longest:.0f} s"
                f" later at the latest (n = {len(self.misbehaved)} recoveries)"
            )
        return (*lines, *found.evidence)


class Run:
    """All scenarios of a run and the planted bugs."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.reports: list[Report] = []
        self.left_out: dict[str, str] = {}
        self.planted: dict[str, int | None] = {}
        self.ended_early = False

    @property
    def good(self) -> bool:
        """It came to its end, every scenario held its promises, every planted bug was caught."""
        held = all(each.good for each in self.reports)
        return held and None not in self.planted.values() and not self.ended_early

    def summary(self) -> dict[str, int]:
        """The last line of a run with --json: of all scenarios together."""
        found = [each.found for each in self.reports if each.found is not None]
        return {
            "kills": sum(each.faults[kill] for each in self.reports for kill in KILLS),
            "acknowledged": sum(each.acknowledged for each in found),
            "lost": sum(each.lost + each.rewound + each.changed for each in found),
            "gaps": sum(each.gaps + each.nonsense for each in found),
            "extra_charges": sum(each.extra_charges for each in found),
            "orphan_charges": sum(each.orphan_charges for each in found),
            "uncommitted_allows": sum(each.uncommitted_allows for each in found),
            "planted_caught": sum(after is not None for after in self.planted.values()),
            "planted_total": len(self.planted),
        }

    def details(self) -> dict[str, Any]:
        """Everything, for whoever wants to know more than the summary."""
        return {
            "seed": self.seed,
            "scenarios": [each.details() for each in self.reports],
            "left_out": self.left_out,
            "planted": self.planted,
            "ended_early": self.ended_early,
        }


def planted_line(name: str, caught_after: int | None) -> str:
    """How one planted bug fared."""
    if caught_after is None:
        return f"planted {name}: NOT CAUGHT"
    return f"planted {name}: caught after {caught_after} fault{'s'[: caught_after != 1]}"
