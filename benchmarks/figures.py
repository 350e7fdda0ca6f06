"""What a benchmark found: ours, its baseline, and the ratio of the two, with the rounds behind."""

import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

_STOLEN = 7
"""The field of /proc/stat with the time that a virtual machine did not get (proc(5))."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One round: ours and the baseline, one after the other, on the same machine."""

    ours: float
    baseline: float


class Figure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`ratio` is `ours / baseline`, both the medians of `runs`."""

    name: str
    ours: float
    baseline: float
    ratio: float | None
    unit: str
    runs: Sequence[Run]
    others: Mapping[str, Any] = {}
    machine: Mapping[str, Any] = {}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`seconds` is how long each side of each round is measured, `in_flight` how many requests
    there are at once in `broker-slow`, `leaves` how long the log of `verify` is, `events` that of
    `projections` and `growth` (without it, as long as fits the seconds). `open_seconds` is how long
    `broker-open` keeps its rate."""

    seconds: float = 5.0
    open_seconds: float = 60.0
    rounds: int = 3
    in_flight: int = 400
    leaves: int = 1_000_000
    events: int | None = None


class Benchmark(Protocol):
    """A function that measures one figure; it starts what it needs and stops all of it."""

    def __call__(self, options: Options) -> Figure: ...


class Machine:
    """What else the machine did while a benchmark ran: a reader should know before believing."""

    def __init__(self) -> None:
        self._before = _cpu_ticks()

    def seen(self) -> dict[str, Any]:
        """Load average, and the share of CPU time that the hypervisor gave to others."""
        now = _cpu_ticks()
        spent = [after - before for before, after in zip(self._before, now, strict=True)]
        total = sum(spent)
        stolen = spent[_STOLEN] / total if total else 0.0
        return {
            "cpus": os.cpu_count() or 1,
            "load_average": round(os.getloadavg()[0], 2),
            "stolen_share": round(stolen, 3),
        }


def figure(
    name: str,
    unit: str,
    runs: Sequence[Run],
    machine: Machine,
    others: Mapping[str, Any] | None = None,
) -> Figure:
    """The figure that these rounds make."""
    ours = statistics.median(run.ours for run in runs)
    baseline = statistics.median(run.baseline for run in runs)
    return Figure(
        name=name,
        ours=round(ours, 6),
        baseline=round(baseline, 6),
        ratio=round(ours / baseline, 3) if baseline else None,
        unit=unit,
        runs=[Run(ours=round(run.ours, 6), baseline=round(run.baseline, 6)) for run in runs],
        others=others or {},
        machine=machine.seen(),
    )


def _cpu_ticks() -> list[int]:
    """The first line of /proc/stat; empty where there is none (not Linux)."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return []
    return [int(field) for field in stat.read_text().partition("\n")[0].split()[1:9]]
