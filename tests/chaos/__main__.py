"""`python -m tests.chaos`: kill, check, report.

    python -m tests.chaos --kills 20 [--planted all|none|NAME,NAME] [--seed N] [--json]

Exit code 0 when no promise was broken and every planted bug was caught; 1 otherwise.
"""

import argparse
import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType

import msgspec

from interfaces.cli.session import configure_logging
from tests.chaos.findings import Findings
from tests.chaos.planted import BUGS
from tests.chaos.report import Report, honest_lines, planted_line
from tests.chaos.scenario import Scenario, plan
from tests.chaos.stage import Stage, stage

STRIKES_MAX = 12
"""How many faults a planted bug may survive before it counts as not caught."""


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, _interrupt)
    configure_logging("error")
    with stage(_progress) as ground:
        asyncio.run(ground.prepare())
        report = Report(seed=options.seed)
        if options.kills:
            honest(ground, options, report)
        for name in _planted(options.planted):
            report.planted[name] = caught_after(ground, name, options)
            _progress(planted_line(name, report.planted[name]))
    if options.json:
        sys.stdout.write(msgspec.json.encode(report.details()).decode() + "\n")
        sys.stdout.write(msgspec.json.encode(report.summary()).decode() + "\n")
    return 0 if report.good else 1


def honest(ground: Stage, options: argparse.Namespace, report: Report) -> None:
    """The platform as it is. Stops at the first broken promise, which it shows."""
    began = time.monotonic()
    with Scenario(
        ground, "honest", bug=None, rate=options.rate, lanes=options.lanes, seed=options.seed
    ) as scenario:
        for number, fault in enumerate(plan(options.kills, options.seed), start=1):
            found = scenario.strike(fault)
            report.take(fault, scenario, found, time.monotonic() - began)
            _progress(
                f"{number:4}/{options.kills} {fault:10} {found.acknowledged:7} acknowledged"
                f" {found.orphan_charges:4} orphans {_broken(found)}"
            )
            if found.violations():
                break
        else:
            report.take(None, scenario, scenario.finish(), time.monotonic() - began)
        if options.keep and report.found is not None and report.found.violations():
            shutil.copytree(scenario.folder, options.keep)
    for line in honest_lines(report):
        _progress(line)


def caught_after(ground: Stage, name: str, options: argparse.Namespace) -> int | None:
    """How many faults it took to bring it to light; None if they did not."""
    bug = BUGS[name]
    with Scenario(
        ground, name, bug=bug, rate=options.rate, lanes=options.lanes, seed=options.seed
    ) as scenario:
        for number in range(1, STRIKES_MAX + 1):
            found = scenario.strike(bug.faults[number % len(bug.faults)])
            if found.violations().keys() & set(bug.shows_as):
                return number
    return None


def _planted(text: str) -> Sequence[str]:
    if text == "none":
        return ()
    return tuple(BUGS) if text == "all" else text.split(",")


def _broken(found: Findings) -> str:
    broken = found.violations()
    return "" if not broken else f"BROKEN {broken} {list(found.evidence)}"


def _progress(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends a run as Ctrl-C does: everything that was started is stopped."""
    raise KeyboardInterrupt


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--planted", default="all", help="all, none, or names with commas between")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    parser.add_argument("--rate", type=float, default=150.0, help="transactions a second")
    parser.add_argument("--lanes", type=int, default=5, help="connections of each of the 4 tills")
    parser.add_argument("--keep", help="copy journals and logs there when a promise was broken")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
