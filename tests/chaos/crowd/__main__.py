"""`python -m tests.chaos.crowd`: sixteen writers and two workers under kill -9, and rebuilds.

    python -m tests.chaos.crowd --events 1000000 [--planted all|none|NAME] [--seed N] [--json]

When the log has so many events, the killing ends, the workers catch up, and every read model is
compared row by row with a replay of the whole log. Exit code 0 when all of them are equal and
every planted bug was caught; 1 otherwise.
"""

import argparse
import asyncio
import functools
import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkProcess
from typing import Any, Final

import msgspec
import psycopg

from benchmarks.ground import Ground, ground
from domain.catalogue import EVENTS, UPCASTERS
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.event_log.mapper import EventMapper
from infrastructure.projections.batch import TakeIn, take_in
from infrastructure.projections.comparison import Comparison, compare
from projections import audit
from projections.catalogue import READ_MODELS
from projections.read_model import ReadModel
from tests.chaos.crowd import members

WORKERS: Final = 2
CATCH_UP_S: Final = 900.0
REBUILDS_KILLED: Final = 1 / 3
PLANTED_EVENTS: Final = 10_000
"""A planted bug that a log of this length has not brought to light counts as not caught."""

_FORK: Final = multiprocessing.get_context("fork")


class Bug(msgspec.Struct, frozen=True):
    """What is wrong in a worker, or in a rebuild."""

    take: TakeIn = take_in
    rebuild: Callable[[str, ReadModel], Any] = members.rebuild_one


BUGS: Final[dict[str, Bug]] = {
    "position_apart": Bug(take=members.position_apart),
    "skip_at_swap": Bug(rebuild=members.rebuild_and_skip),
}


class Report(msgspec.Struct, kw_only=True):
    """What one crowd did, and which read models do not say what the log says."""

    events: int = 0
    tenants: int = 0
    kills: dict[str, int] = {}
    rebuilds: int = 0
    wrote_s: float = 0.0
    caught_up_s: float = 0.0
    compared_s: float = 0.0
    rows: int = 0
    different: list[str] = []


class Crowd:
    """The processes, who of them lives, and what was done to them."""

    def __init__(self, dsn: str, writers: int, delay: float, bug: Bug) -> None:
        self._dsn = dsn
        self._delay = delay
        self._bug = bug
        self.kills: Counter[str] = Counter()
        self.rebuilds = 0
        self._writers = [self._writer() for _ in range(writers)]
        self._workers = [self._worker() for _ in range(WORKERS)]
        self._rebuilding: ForkProcess | None = None

    def strike(self, chance: random.Random) -> None:
        """Kill one process and start it anew, cut a connection, or begin or kill a rebuild."""
        self._note_rebuild()
        kind = chance.choices(("writer", "worker", "backend", "rebuild"), (8, 4, 2, 4))[0]
        if kind == "writer":
            number = chance.randrange(len(self._writers))
            _kill(self._writers[number])
            self._writers[number] = self._writer()
        elif kind == "worker":
            number = chance.randrange(len(self._workers))
            _kill(self._workers[number])
            self._workers[number] = self._worker()
        elif kind == "backend":
            _cut_a_projector(self._dsn)
        elif self._rebuilding is None:
            model = chance.choice(READ_MODELS)
            self._rebuilding = _started(functools.partial(self._bug.rebuild, self._dsn, model))
            return
        elif chance.random() < REBUILDS_KILLED:
            _kill(self._rebuilding)
            self._rebuilding = None
        else:
            return
        self.kills[kind] += 1

    def half_time(self) -> None:
        """What no run may do without: every worker is killed, and one rebuild comes to its end."""
        for number, worker in enumerate(self._workers):
            _kill(worker)
            self._workers[number] = self._worker()
            self.kills["worker"] += 1
        if self._rebuilding is not None:
            _kill(self._rebuilding)
            self.kills["rebuild"] += 1
        self._rebuilding = _started(
            functools.partial(self._bug.rebuild, self._dsn, audit.READ_MODEL)
        )
        self._rebuilding.join()
        self._note_rebuild()

    def rest(self) -> None:
        """A rebuild may end, there are no writers any more, and the workers go on.

        In this order: the planted bug of a rebuild waits for one event more.
        """
        if self._rebuilding is not None:
            self._rebuilding.join()
            self._note_rebuild()
        for writer in self._writers:
            _kill(writer)

    def end(self) -> None:
        for member in (*self._writers, *self._workers, self._rebuilding):
            if member is not None:
                _kill(member)

    def _note_rebuild(self) -> None:
        if self._rebuilding is not None and self._rebuilding.exitcode is not None:
            # One that met a cut connection ends with an error, and counts for nothing.
            self.rebuilds += self._rebuilding.exitcode == 0
            self._rebuilding = None

    def _writer(self) -> ForkProcess:
        return _started(functools.partial(members.write, self._dsn, self._delay))

    def _worker(self) -> ForkProcess:
        return _started(functools.partial(members.work, self._dsn, self._bug.take))


def crowd(place: Ground, name: str, options: argparse.Namespace, bug: Bug, goal: int) -> Report:
    """One crowd from an empty log to the comparison."""
    dsn = place.database(name, migrated=True)
    asyncio.run(members.make(dsn))
    chance = random.Random(options.seed)  # noqa: S311 - to be repeated, not to be secret
    began = time.monotonic()
    many = Crowd(dsn, options.writers, options.delay, bug)
    report = Report()
    try:
        halved = False
        while (position := _position(dsn)) < goal or not halved:
            if position >= goal / 2 and not halved:
                halved = True
                many.half_time()
            time.sleep(chance.expovariate(1 / options.pause))
            many.strike(chance)
            _progress(f"{name}: {position:9,} events, kills {dict(many.kills)}")
        many.rest()
        report.wrote_s = time.monotonic() - began
        began = time.monotonic()
        behind = _not_caught_up(dsn)
        report.caught_up_s = time.monotonic() - began
    finally:
        many.end()
    began = time.monotonic()
    found = asyncio.run(_compared(dsn))
    report.compared_s = time.monotonic() - began
    report.events, report.tenants = _position(dsn), _tenants(dsn)
    report.kills, report.rebuilds = dict(many.kills), many.rebuilds
    report.rows = sum(each.rows for each in found)
    report.different = sorted(
        {each.read_model for each in found if each.differing is not None or each.halted} | behind
    )
    for each in found:
        if each.differing is not None:
            _progress(f"{name}: {each.differing}")
    return report


async def _compared(dsn: str) -> Sequence[Comparison]:
    log = await PostgresEventLog.open(dsn, EventMapper(EVENTS, UPCASTERS))
    try:
        return [await compare(dsn, model, log) for model in READ_MODELS]
    finally:
        await log.close()


def _started(body: members.Body) -> ForkProcess:
    process = _FORK.Process(target=members.run, args=(body,), daemon=True)
    process.start()
    return process


def _kill(process: ForkProcess) -> None:
    process.kill()
    process.join()


def _ask(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def _position(dsn: str) -> int:
    (found,) = _ask(dsn, "SELECT coalesce(max(position), 0) FROM events")
    position: int = found[0]
    return position


def _tenants(dsn: str) -> int:
    (found,) = _ask(dsn, "SELECT count(DISTINCT tenant_id) FROM events")
    tenants: int = found[0]
    return tenants


def _cut_a_projector(dsn: str) -> None:
    """End the session of somebody who holds a read model's turn."""
    _ask(
        dsn,
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted "
        "AND classid IN (7310582, 7310583) "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
        "ORDER BY random() LIMIT 1",
    )


def _not_caught_up(dsn: str) -> set[str]:
    """The read models that do not come to the end of a quiet log."""
    deadline = time.monotonic() + CATCH_UP_S
    while True:
        behind = _ask(
            dsn,
            "SELECT name FROM projection_positions WHERE name NOT LIKE '% (rebuild)' "
            "AND position < (SELECT max(position) FROM events)",
        )
        if not behind or time.monotonic() > deadline:
            return {name for (name,) in behind}
        time.sleep(0.1)


def _progress(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def main() -> int:
    options = _options()
    good = True
    told: dict[str, Any] = {"seed": options.seed, "writers": options.writers}
    with ground() as place:
        if options.events:
            honest = crowd(place, "honest", options, Bug(), options.events)
            good = not honest.different
            told["honest"] = msgspec.to_builtins(honest)
        for name in _planted(options.planted):
            caught = crowd(place, name, options, BUGS[name], options.planted_events)
            good = good and bool(caught.different)
            told[name] = msgspec.to_builtins(caught)
    if options.json:
        sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
    else:
        for name, found in told.items():
            sys.stdout.write(f"{name}  {found}\n")
    return 0 if good else 1


def _planted(text: str) -> Sequence[str]:
    if text == "none":
        return ()
    return tuple(BUGS) if text == "all" else text.split(",")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.crowd", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--delay", type=float, default=0.05, help="mean pause of a writer, seconds")
    parser.add_argument("--pause", type=float, default=0.2, help="mean seconds between strikes")
    parser.add_argument("--planted", default="all", help="all, none, or names with commas between")
    parser.add_argument("--planted-events", type=int, default=PLANTED_EVENTS)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
