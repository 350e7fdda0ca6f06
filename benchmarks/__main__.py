"""Measure us against baselines; without WHAT, all there is. `docs/benchmarks.md` says how."""

import argparse
import sys
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.append import append
from benchmarks.broker import broker, broker_slow
from benchmarks.broker_open import broker_open
from benchmarks.checkpoint import checkpoint
from benchmarks.edge import edge
from benchmarks.figures import Benchmark, Figure, Options
from benchmarks.growth import growth
from benchmarks.login import login
from benchmarks.projections import projections
from benchmarks.token import token
from benchmarks.verification import verification
from interfaces.cli.session import configure_logging

BENCHMARKS: Final[dict[str, Benchmark]] = {
    "append": append,
    "broker": broker,
    "broker-slow": broker_slow,
    "broker-open": broker_open,
    "checkpoint": checkpoint,
    "edge": edge,
    "login": login,
    "projections": projections,
    "token": token,
    "verify": verification,
    "growth": growth,
}


def main() -> None:
    """Measure, tell what is being done on stderr and what was found on stdout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="*", choices=[[], *BENCHMARKS], metavar="WHAT")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--seconds", type=float, default=None)
    parser.add_argument("--rounds", type=int, default=Options().rounds)
    parser.add_argument(
        "--in-flight", type=int, default=Options().in_flight, help="at once in broker-slow"
    )
    parser.add_argument("--leaves", type=int, default=Options().leaves, help="of verify's log")
    parser.add_argument(
        "--events", type=int, default=None, help="length of the log in projections and growth"
    )
    given = parser.parse_args()
    configure_logging("warning")
    options = Options(
        seconds=given.seconds or Options().seconds,
        open_seconds=given.seconds or Options().open_seconds,
        rounds=given.rounds,
        in_flight=given.in_flight,
        leaves=given.leaves,
        events=given.events,
    )
    figures: list[Figure] = []
    for name in given.what or BENCHMARKS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found = BENCHMARKS[name](options)
        figures.append(found)
        if given.json:
            print(msgspec.json.encode(found).decode(), flush=True)
    if not given.json:
        show(figures)


def show(figures: list[Figure]) -> None:
    """A table for people, and beneath it what else was seen."""
    console = Console()
    table = Table("", "ours", "baseline", "ratio", "unit", "load")
    for found in figures:
        table.add_row(
            found.name,
            f"{found.ours:,.1f}",
            f"{found.baseline:,.1f}",
            "-" if found.ratio is None else f"{found.ratio:.2f}",
            found.unit,
            str(found.machine.get("load_average", "")),
        )
    console.print(table)
    for found in figures:
        console.print(found.name, msgspec.to_builtins(found.others), soft_wrap=True)


if __name__ == "__main__":
    main()
