"""What the platform adds to a palm of 850 ms and a product of 50 ms, whatever is under way.

After a warm-up: a steady rate; the same rate while another tenant's product is dead; three times
the rate; and, because that may well be less than the machine can do, three times what it can. What
it can is reckoned from the CPU time that the edge, which has one core at most, took for an answer.
Time added is a latency less the 900 ms that vendor and product took.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import psycopg

from benchmarks.broker import device_body, device_head
from benchmarks.figures import Figure, Machine, Options, Run, figure
from benchmarks.ground import Ground, ground
from benchmarks.open_load import Caller, Heard, OpenOrder, OpenOutcome, Phase, PhaseOutcome
from benchmarks.platform import Serving, platform
from benchmarks.processes import answer_of, program

PALM_MS: Final = 850
PRODUCT_MS: Final = 50
RATE: Final = 100.0
DEAD_RATE: Final = 20.0
OVERLOAD: Final = 3
BEYOND_S: Final = 30.0
BEYOND_OPENED: Final = 1200
"""More than the platform takes in at once, so that what is measured is not its handshakes."""

WARM_UP_S: Final = 5.0
SPARE: Final = 1.3
"""Connections that stand open: those that the rate needs at once, and so many times that."""

_ALLOWED: Final = "SELECT count(*) FROM events WHERE name = 'transaction.allowed'"


def broker_open(options: Options) -> Figure:
    """p99 of the time added at 100 transactions a second; the rest stands under `others`, each
    with its n: `sent`, and of these `answered`, `refused` and `errors`."""
    machine, seconds = Machine(), options.open_seconds
    delays = ("--palm-delay-ms", str(PALM_MS), "--product-delay-ms", str(PRODUCT_MS))
    with (
        ground() as place,
        program("benchmarks.peers", *delays) as peers,
        platform(place, peers.told["port"], dead_neighbour=True) as serving,
    ):
        order = _order(serving, seconds)
        outcome = _load(order)
        phases = {phase.name: phase for phase in outcome.phases}
        capacity = 1e6 / (phases["overload"].cpu_us["app"] or 1e6)
        beyond = _load(_beyond(order, round(capacity * OVERLOAD), seconds)).phases[0]
        in_log = _allowed(place)
    steady, beside, overload = (phases[name] for name in ("steady", "neighbour", "overload"))
    heard = sum(
        each.allowed for phase in (*outcome.phases, beyond) for each in phase.heard.values()
    )
    added = _added(steady.heard["ours"])
    others: dict[str, Any] = {
        "ours": _summary(steady),
        "memory_mb": {
            name: {"start": samples[0], "middle": samples[1], "end": samples[2]}
            for name, samples in steady.memory_mb.items()
        },
        "overload": {"rate": RATE * OVERLOAD, **_summary(overload)},
        "reckoned_capacity": round(capacity),
        "beyond": {"rate": round(capacity * OVERLOAD), **_summary(beyond)},
        "neighbour": {
            **_summary(beside),
            "p99_to_p99_alone": round(
                beside.heard["ours"].p99_ms / (steady.heard["ours"].p99_ms or 1.0), 3
            ),
            "dead": msgspec.to_builtins(beside.heard["dead"]),
        },
        "allows_heard": heard,
        "allows_in_log": in_log,
        "lost": max(0, heard - in_log),
        "rate": RATE,
        "seconds": seconds,
        "processes": "one" if serving.worker is None else "api edge, worker",
    }
    run = Run(ours=added["added_p99_ms"], baseline=0.0)
    return figure("broker-open", "ms added (p99)", [run], machine, others)


def _load(order: OpenOrder) -> OpenOutcome:
    told = answer_of("benchmarks.open_load", given=msgspec.json.encode(order))
    return msgspec.convert(told, OpenOutcome)


def _order(serving: Serving, seconds: float) -> OpenOrder:
    assert serving.dead is not None, "the neighbour was asked for"
    at_once = RATE * min((PALM_MS + PRODUCT_MS) / 1000 * SPARE, seconds)
    watch = {"app": serving.app}
    if serving.worker is not None:
        watch["worker"] = serving.worker
    short = seconds / 2
    return OpenOrder(
        port=serving.device_port,
        ca_file=str(serving.files.ca),
        head=device_head(),
        body=device_body(),
        callers={
            "ours": Caller(
                certificate_file=str(serving.files.certificate),
                key_file=str(serving.files.key),
                opened=int(at_once * OVERLOAD),
            ),
            "dead": Caller(
                certificate_file=str(serving.dead.certificate),
                key_file=str(serving.dead.key),
                opened=int(at_once * DEAD_RATE / RATE),
            ),
        },
        phases=[
            Phase(name="warm-up", seconds=min(WARM_UP_S, seconds), rates={"ours": RATE}),
            Phase(name="steady", seconds=seconds, rates={"ours": RATE}),
            Phase(name="neighbour", seconds=short, rates={"ours": RATE, "dead": DEAD_RATE}),
            Phase(name="overload", seconds=short, rates={"ours": RATE * OVERLOAD}),
        ],
        watch=watch,
    )


def _beyond(order: OpenOrder, rate: float, seconds: float) -> OpenOrder:
    """The same device alone, at this rate."""
    ours = msgspec.structs.replace(order.callers["ours"], opened=BEYOND_OPENED)
    over = Phase(name="beyond", seconds=min(BEYOND_S, seconds / 2), rates={"ours": rate})
    return msgspec.structs.replace(order, callers={"ours": ours}, phases=[over])


def _summary(phase: PhaseOutcome) -> dict[str, Any]:
    heard = phase.heard["ours"]
    told = {"cpu_us": phase.cpu_us, "busy": phase.busy}
    return {**msgspec.to_builtins(heard), **_added(heard), **told}


def _added(heard: Heard) -> Mapping[str, float]:
    """Of the answers that came; refusals come at once and are counted apart."""
    theirs = PALM_MS + PRODUCT_MS
    return {
        "added_p50_ms": round(heard.p50_ms - theirs, 2),
        "added_p99_ms": round(heard.p99_ms - theirs, 2),
    }


def _allowed(place: Ground) -> int:
    with psycopg.connect(place.url("platform"), autocommit=True) as connection:
        row = connection.execute(_ALLOWED).fetchone()
    assert row is not None, "count(*) answers with one row"
    return int(row[0])
