"""`python -m tests.chaos`: kill, check, report.

    python -m tests.chaos --kills 20 [--others all|none|NAME,NAME] [--planted all|none|NAME,NAME]
        [--trials N] [--seed N] [--json]

Exit code 0 when no promise was broken and every planted bug was caught; 1 otherwise.
"""

import argparse
import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import FrameType

import msgspec

from interfaces.cli.session import configure_logging
from tests.chaos.faults import misbehave, misbehaviours, plan, strike
from tests.chaos.findings import Findings
from tests.chaos.planted import BUGS, Fault
from tests.chaos.report import Report, Run, planted_line
from tests.chaos.scenario import Scenario
from tests.chaos.scenarios import SCENARIOS, Kind
from tests.chaos.stage import Stage, stage

STRIKES_MAX = 12
"""How many faults a planted bug may survive before it counts as not caught."""


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, _interrupt)
    configure_logging("error")
    run = Run(options.seed)
    began = time.monotonic()
    try:
        go(options, run)
    except BaseException:
        run.ended_early = True
        raise
    finally:
        # Also of a run that did not come to its end: what it found is found.
        _progress(f"{(time.monotonic() - began) / 60:.0f} minutes in all")
        if options.json:
            sys.stdout.write(msgspec.json.encode(run.details()).decode() + "\n")
            sys.stdout.write(msgspec.json.encode(run.summary()).decode() + "\n")
            sys.stdout.flush()
    return 0 if run.good else 1


def go(options: argparse.Namespace, run: Run) -> None:
    """Kills, the other scenarios, and the planted bugs; what comes of it stands in `run`."""
    others = _chosen(options.others, SCENARIOS)
    with stage(_progress) as ground:
        asyncio.run(ground.prepare())
        if options.kills:
            faults = plan(options.kills, options.seed)
            go_through(ground, "kills", Kind(trials=options.kills), faults, options, run)
        for name in others:
            if SCENARIOS[name].ground == "plain":
                one_of_the_others(ground, name, options, run)
        planted = _chosen(options.planted, BUGS)
        run.planted.update(dict.fromkeys(planted))
        for name in planted:
            run.planted[name] = caught_after(ground, name, options)
            _progress(planted_line(name, run.planted[name]))
    for name in others:
        kind = SCENARIOS[name]
        if kind.ground != "plain" and kind.missing() is None:
            with stage(_progress, kind.ground) as special:
                asyncio.run(special.prepare())
                one_of_the_others(special, name, options, run)
        elif kind.ground != "plain":
            one_of_the_others(None, name, options, run)


def one_of_the_others(
    ground: Stage | None, name: str, options: argparse.Namespace, run: Run
) -> None:
    """A scenario of the catalogue, or a plain word about why it is left out."""
    kind = SCENARIOS[name]
    missing = kind.missing()
    if missing is not None or ground is None:
        run.left_out[name] = str(missing)
        _progress(f"{name}: left out, {missing}")
        return
    trials = options.trials or kind.trials
    faults: list[Fault] = [kind.faults[n % len(kind.faults)] for n in range(trials) if kind.faults]
    go_through(ground, name, kind, faults, options, run)


def go_through(
    ground: Stage,
    name: str,
    kind: Kind,
    faults: Sequence[Fault],
    options: argparse.Namespace,
    run: Run,
) -> None:
    """The platform as it is. Stops at the first broken promise, which it shows."""
    report = Report(name)
    run.reports.append(report)
    began = time.monotonic()
    with Scenario(
        ground,
        name,
        bug=None,
        rate=options.rate,
        lanes=options.lanes,
        seed=options.seed,
        platforms=kind.platforms,
        with_line=kind.line,
    ) as scenario:
        strikes = _misbehave(scenario, report, options) if kind.line else _strike(scenario, faults)
        for number, (fault, found) in enumerate(strikes, start=1):
            report.take(fault, scenario, found, time.monotonic() - began)
            _progress(
                f"{name} {number:4} {fault:22} {found.acknowledged:7} acknowledged"
                f" {found.orphan_charges:4} orphans {_broken(found)}"
            )
            if found.violations():
                break
        else:
            report.take(None, scenario, scenario.finish(), time.monotonic() - began)
        if options.keep and report.found is not None and report.found.violations():
            shutil.copytree(scenario.folder, options.keep)
    for line in report.lines():
        _progress(line)


def _strike(scenario: Scenario, faults: Iterable[Fault]) -> Iterator[tuple[str, Findings]]:
    for fault in faults:
        yield fault, strike(scenario, fault)


def _misbehave(
    scenario: Scenario, report: Report, options: argparse.Namespace
) -> Iterator[tuple[str, Findings]]:
    ways = misbehaviours()
    for number in range(options.trials or len(ways)):
        party, mode = ways[number % len(ways)]
        figures, found = misbehave(scenario, party, mode)
        report.misbehaved.append(figures)
        yield f"{party} {mode}", found


def caught_after(ground: Stage, name: str, options: argparse.Namespace) -> int | None:
    """How many faults it took to bring it to light; None if they did not."""
    bug = BUGS[name]
    with Scenario(
        ground, name, bug=bug, rate=options.rate, lanes=options.lanes, seed=options.seed
    ) as scenario:
        for number in range(1, STRIKES_MAX + 1):
            found = strike(scenario, bug.faults[number % len(bug.faults)])
            if found.violations().keys() & set(bug.shows_as):
                return number
    return None


def _chosen(text: str, known: Mapping[str, object]) -> Sequence[str]:
    if text == "none":
        return ()
    return tuple(known) if text == "all" else text.split(",")


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
    parser.add_argument("--others", default="none", help=f"all, none, or of {', '.join(SCENARIOS)}")
    parser.add_argument("--trials", type=int, help="faults in each of the others")
    parser.add_argument("--planted", default="all", help="all, none, or names with commas between")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    parser.add_argument("--rate", type=float, default=150.0, help="transactions a second")
    parser.add_argument("--lanes", type=int, default=5, help="connections of each of the 4 tills")
    parser.add_argument("--keep", help="copy journals and logs there when a promise was broken")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
