"""Sign-ins with e-mail and password through the API, against bare bcrypt on the same cores.

Beside it (`others`): what a storm of sign-ins does to the latency of tokens.
"""

import os
import ssl
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import msgspec

from benchmarks.figures import Figure, Machine, Options, Run, figure
from benchmarks.ground import Ground, ground
from benchmarks.login_load import Order, Outcome
from benchmarks.processes import ProgramFailed, answer_of
from benchmarks.token import Side, token_load, token_platform
from infrastructure.clock import SystemClock
from infrastructure.keys.signing_keys import SigningKey
from infrastructure.messages.inbox import Inbox

A_SECOND_MOST: Final = 6 * (os.cpu_count() or 1)
COST: Final = 12
COST_OF_A_TRIAL: Final = 10
"""Runs of less than a second are to see that it works, and not what it comes to."""
TRIES_MOST: Final = 30
"""Of one person within an hour, which the guard allows."""
CONNECTIONS: Final = 8
PASSWORD: Final = "correct horse battery staple"
WARM_UP_S: Final = 1.0


def login(options: Options) -> Figure:
    """Eight connections, each signing somebody in again and again, and as many threads of bcrypt
    as there are cores, in turns."""
    machine, key = Machine(), SigningKey.generate()
    runs: list[Run] = []
    with ground() as place, _platform(place, key, options) as (side, orders):
        runs += [
            Run(ours=_signed_in(order).per_s, baseline=_bare(options)) for order in orders(options)
        ]
        quiet = token_load(side, key, options.seconds)
        with ThreadPoolExecutor(1) as beside:
            (storm,) = orders(msgspec.structs.replace(options, rounds=1))
            storming = beside.submit(_signed_in, storm)
            stormy = token_load(side, key, max(options.seconds - WARM_UP_S, 0.2))
            signed_in = storming.result()
    others = {
        "tokens_quiet": {"p50_ms": quiet.p50_ms, "p99_ms": quiet.p99_ms, "per_s": quiet.per_s},
        "tokens_in_a_storm": {
            "p50_ms": stormy.p50_ms,
            "p99_ms": stormy.p99_ms,
            "per_s": stormy.per_s,
        },
        "p99_ratio": round(stormy.p99_ms / quiet.p99_ms, 3) if quiet.p99_ms else None,
        "sign_ins_in_the_storm_per_s": signed_in.per_s,
    }
    return figure("login", "sign-ins/s", runs, machine, others)


def _bare(options: Options) -> float:
    """Comparisons a second of bcrypt alone."""
    asked = ("bare", str(options.seconds), str(_cost(options)))
    return float(answer_of("benchmarks.login_load", *asked)["per_s"])


def _signed_in(order: Order) -> Outcome:
    """Raises ProgramFailed when anybody was not let in."""
    told = answer_of("benchmarks.login_load", given=msgspec.json.encode(order))
    outcome = msgspec.convert(told, Outcome)
    if outcome.errors:
        raise ProgramFailed(f"{outcome.errors} errors, the first: {outcome.first_error}")
    return outcome


@contextmanager
def _platform(place: Ground, key: SigningKey, options: Options) -> Generator[tuple[Side, "Orders"]]:
    with token_platform(place, key, {"LINK_PASSWORD_COST": str(_cost(options))}) as (side, tenant):
        inbox = Inbox(place.folder / "platform" / "inbox", SystemClock())
        lasts = (options.rounds + 1) * (options.seconds + WARM_UP_S)
        count = 1 + int(A_SECOND_MOST * lasts / TRIES_MOST)
        people = _signed_up(side, tenant, inbox, count)
        yield side, Orders(side, tenant, people)


def _cost(options: Options) -> int:
    return COST if options.seconds >= 1 else COST_OF_A_TRIAL


class Orders:
    """The orders of so many rounds. Each comes from addresses of its own, so that no round uses up
    what the guard lets the next one do."""

    def __init__(self, side: Side, tenant: str, people: Sequence[str]) -> None:
        self._side = side
        self._tenant = tenant
        self._people = people
        self._network = 0

    def __call__(self, options: Options) -> Generator[Order]:
        for _ in range(options.rounds):
            self._network += 1
            yield Order(
                issuer=self._side.issuer,
                ca_file=self._side.ca_file,
                tenant_id=self._tenant,
                people=self._people,
                password=PASSWORD,
                network=self._network,
                connections=CONNECTIONS,
                seconds=options.seconds,
                warm_up_s=min(WARM_UP_S, options.seconds),
            )


def _signed_up(side: Side, tenant: str, inbox: Inbox, count: int) -> list[str]:
    """The addresses of people who have the one password."""
    addresses = [f"person-{number}@example.com" for number in range(count)]
    for address in addresses:
        _with_password(side, tenant, inbox, address)
    return addresses


def _with_password(side: Side, tenant: str, inbox: Inbox, address: str) -> None:
    here = {"tenant_id": tenant, "installation": uuid4().hex, "channel": "email"}
    trust = ssl.create_default_context(cafile=str(Path(side.ca_file)))
    with httpx.Client(base_url=side.issuer, verify=trust, trust_env=False, timeout=20) as api:
        asked = _json(api.post("/v1/auth/codes", json={**here, "destination": address}))
        message = inbox.read(address)
        assert message is not None, "the one-time code did not arrive"
        proof = {**here, "challenge_id": asked["challenge_id"], "code": message.code}
        told = _json(api.post("/v1/auth/codes/verify", json=proof))
        api.headers["authorization"] = f"Bearer {told['access_token']}"
        api.post("/v1/auth/passwords", json={"password": PASSWORD}).raise_for_status()


def _json(answered: httpx.Response) -> Mapping[str, Any]:
    found: Mapping[str, Any] = answered.raise_for_status().json()
    return found
