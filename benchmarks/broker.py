"""Transactions over mTLS, the platform against the plain service: same peers, same load."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from uuid import uuid4

import msgspec

from benchmarks.certificates import Authority, Files
from benchmarks.figures import Figure, Machine, Options, Run, figure
from benchmarks.ground import Ground, ground
from benchmarks.load import KEY, Order, Outcome
from benchmarks.platform import SCAN, Serving, platform
from benchmarks.processes import ProgramFailed, answer_of, free_port, program

CONNECTIONS: Final = 16
SLOW_PALM_MS: Final = 850
WARM_UP_S: Final = 1.0


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two services under load."""

    port: int
    files: Files
    head: str
    watch: Mapping[str, int]


def broker(options: Options) -> Figure:
    """16 keep-alive connections; palm and product answer at once."""
    return _measure("broker", options, palm_delay_ms=0, connections=CONNECTIONS)


def broker_slow(options: Options) -> Figure:
    """A palm vendor that takes 850 ms, and 400 transactions in flight.

    The baseline may well answer none of them in time; then there is no ratio.
    """
    return _measure(
        "broker-slow", options, palm_delay_ms=SLOW_PALM_MS, connections=options.in_flight
    )


def _measure(name: str, options: Options, *, palm_delay_ms: int, connections: int) -> Figure:
    machine = Machine()
    with (
        ground() as place,
        program("benchmarks.peers", "--palm-delay-ms", str(palm_delay_ms)) as peers,
        platform(place, peers.told["port"]) as ours,
        _baseline(place, peers.told["port"]) as baseline,
    ):
        runs: list[Run] = []
        found: dict[str, list[Outcome]] = {"ours": [], "baseline": []}
        families = {"postgres": place.postmaster, "peers": peers.pid}
        sides = {"ours": _side(ours), "baseline": baseline}
        warm_up_s = min(WARM_UP_S, options.seconds) + 2 * palm_delay_ms / 1000
        for _ in range(options.rounds):
            for side, under_load in sides.items():
                order = _order(under_load, connections, options.seconds, warm_up_s, families)
                found[side].append(_load(order, may_fail=side == "baseline"))
            runs.append(Run(ours=found["ours"][-1].per_s, baseline=found["baseline"][-1].per_s))
    others: dict[str, Any] = {side: _summary(outcomes) for side, outcomes in found.items()}
    others["processes"] = "one" if ours.worker is None else "api edge, worker"
    return figure(name, "transactions/s", runs, machine, others)


@contextmanager
def _baseline(place: Ground, peers_port: int) -> Generator[Side]:
    folder = place.folder / "baseline"
    folder.mkdir()
    place.database("baseline")
    authority = Authority(folder)
    server, port = authority.server(), free_port()
    peers = f"http://127.0.0.1:{peers_port}"
    environment = {
        "BASELINE_PORT": str(port),
        "BASELINE_DATABASE_URL": place.url("baseline", scheme="postgresql+asyncpg"),
        "BASELINE_PALM_URL": peers,
        "BASELINE_PRODUCT_URL": peers,
        "BASELINE_CERTIFICATE": str(server.certificate),
        "BASELINE_KEY": str(server.key),
        "BASELINE_DEVICE_CA": str(server.ca),
    }
    with program("benchmarks.baseline.service", environment=environment) as service:
        yield Side(
            port=port,
            files=authority.device(),
            head=device_head("x-device-id: dev_1\r\n"),
            watch={"app": service.pid},
        )


def _side(serving: Serving) -> Side:
    watch = {"app": serving.app}
    if serving.worker is not None:
        watch["worker"] = serving.worker
    return Side(port=serving.device_port, files=serving.files, head=device_head(), watch=watch)


def device_head(more: str = "") -> str:
    return (
        "POST /v1/device/transactions HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\n{more}"
    )


def device_body() -> bytes:
    """A transaction, with `KEY` where its idempotency key stands."""
    body = {
        "idempotency_key": KEY.decode(),
        "scan": SCAN,
        "context": {"amount": "5.00", "currency": "SAR", "order": uuid4().hex},
    }
    return msgspec.json.encode(body).replace(msgspec.json.encode(KEY.decode())[1:-1], KEY)


def _order(
    side: Side, connections: int, seconds: float, warm_up_s: float, families: Mapping[str, int]
) -> Order:
    return Order(
        port=side.port,
        ca_file=str(side.files.ca),
        certificate_file=str(side.files.certificate),
        key_file=str(side.files.key),
        head=side.head,
        body=device_body(),
        expected=b'"decision":"allow"',
        connections=connections,
        seconds=seconds,
        warm_up_s=warm_up_s,
        watch=side.watch,
        families=families,
    )


def _load(order: Order, *, may_fail: bool) -> Outcome:
    """Raises ProgramFailed when an answer of ours was anything but an allow."""
    told = answer_of("benchmarks.load", given=msgspec.json.encode(order))
    outcome = msgspec.convert(told, Outcome)
    if outcome.errors and not may_fail:
        raise ProgramFailed(f"{outcome.errors} errors, the first: {outcome.first_error}")
    return outcome


def _summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """The round in the middle, by its rate; errors of all rounds."""
    middle = sorted(outcomes, key=lambda outcome: outcome.per_s)[len(outcomes) // 2]
    return {
        "p50_ms": middle.p50_ms,
        "p99_ms": middle.p99_ms,
        "cpu_us": middle.cpu_us,
        "errors": sum(outcome.errors for outcome in outcomes),
        "first_error": next((o.first_error for o in outcomes if o.first_error), ""),
    }
