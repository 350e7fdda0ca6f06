"""Tokens by private_key_jwt, each introspected once: the platform against npm's oidc-provider.

Ours remembers in PostgreSQL which assertions were shown; oidc-provider, as it comes, keeps clients,
tokens and assertions in its own memory. What is compared is requests for a second of CPU time, the
database's included.
"""

import json
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from benchmarks.certificates import Authority
from benchmarks.figures import Figure, Machine, Options, Run, figure
from benchmarks.ground import Ground, ground
from benchmarks.processes import ROOT, ProgramFailed, answer_of, free_port, program
from benchmarks.token_load import Order, Outcome
from infrastructure.keys.signing_keys import SigningKey

CLIENTS: Final = 8
"""So many that none uses up its own budget of requests."""

CONNECTIONS: Final = 8
WARM_UP_S: Final = 1.0
NODE: Final = ROOT / "tests" / "foreign"
STOP_S: Final = 10


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two servers. `families` count with their children."""

    issuer: str
    paths: tuple[str, str]
    ca_file: str
    clients: list[str]
    watch: Mapping[str, int]
    families: Mapping[str, int] = {}


def token(options: Options) -> Figure:
    """Eight keep-alive connections, each getting a token and asking about it, in turns.

    Without Node and the packages of tests/foreign there is no baseline and no ratio.
    """
    machine, key = Machine(), SigningKey.generate()
    runs: list[Run] = []
    found: dict[str, list[Outcome]] = {"ours": [], "baseline": []}
    with (
        ground() as place,
        token_platform(place, key) as (ours, _),
        _provider(place, key) as baseline,
    ):
        for _ in range(options.rounds):
            found["ours"].append(token_load(ours, key, options.seconds))
            if baseline is not None:
                found["baseline"].append(token_load(baseline, key, options.seconds))
            theirs = found["baseline"][-1].per_core_s if found["baseline"] else 0.0
            runs.append(Run(ours=found["ours"][-1].per_core_s, baseline=theirs))
    others: dict[str, Any] = {side: outcomes[-1] for side, outcomes in found.items() if outcomes}
    if not found["baseline"]:
        others["left_out"] = "no Node with the packages of tests/foreign (make node)"
    built = msgspec.to_builtins(others)
    return figure("token", "requests/s for a core", runs, machine, built)


def token_load(side: Side, key: SigningKey, seconds: float) -> Outcome:
    """Raises ProgramFailed when any answer was not what was asked for."""
    order = Order(
        issuer=side.issuer,
        token_path=side.paths[0],
        introspection_path=side.paths[1],
        ca_file=side.ca_file,
        clients=side.clients,
        key_pem=key.to_pem().decode(),
        connections=CONNECTIONS,
        seconds=seconds,
        warm_up_s=min(WARM_UP_S, seconds),
        watch=side.watch,
        families=side.families,
    )
    told = answer_of("benchmarks.token_load", given=msgspec.json.encode(order))
    outcome = msgspec.convert(told, Outcome)
    if outcome.errors:
        raise ProgramFailed(f"{outcome.errors} errors, the first: {outcome.first_error}")
    return outcome


@contextmanager
def token_platform(
    place: Ground, key: SigningKey, environ: Mapping[str, str] | None = None
) -> Generator[tuple[Side, str]]:
    """One process with all roles, and its tenant."""
    folder = place.folder / "platform"
    folder.mkdir()
    place.database("platform")
    port = free_port()
    environment = {
        "LINK_DATA_DIR": str(folder),
        "LINK_DATABASE_URL": place.url("platform"),
        "LINK_DEVELOPMENT": "true",
        "LINK_PUBLIC_PORT": str(port),
        "LINK_DEVICE_PORT": str(free_port()),
        "LINK_INTERNAL_PORT": str(free_port()),
        "LINK_LOG_LEVEL": "warning",
        **(environ or {}),
    }
    with program("interfaces", "serve", "--json", environment=environment) as running:
        issuer, ca = f"https://localhost:{port}", folder / "pki" / "server-ca.pem"
        tenant, clients = _registered(environment, issuer, ca, key)
        side = Side(
            issuer=issuer,
            paths=("/oauth2/token", "/oauth2/introspect"),
            ca_file=str(ca),
            clients=clients,
            watch={"server": running.pid},
            families={"postgres": place.postmaster},
        )
        yield side, tenant


def _registered(
    environment: Mapping[str, str], issuer: str, ca: Path, key: SigningKey
) -> tuple[str, list[str]]:
    """A tenant, and the ids of so many clients of its that all hold the one key."""
    made = answer_of("interfaces", "tenants", "create", "Bench", "--json", environment=environment)
    tenant = made["tenant_id"]
    first = answer_of(
        "interfaces", "clients", "create", tenant, "first", "--json", environment=environment
    )
    body = {
        "name": "bench",
        "scopes": ["devices:read"],
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks": {"keys": [_public(key)]},
    }
    with httpx.Client(base_url=issuer, verify=str(ca), trust_env=False, timeout=20) as api:
        auth = (first["client_id"], first["client_secret"])
        form = {"grant_type": "client_credentials"}
        got = api.post("/oauth2/token", data=form, auth=auth).raise_for_status().json()
        api.headers["authorization"] = f"Bearer {got['access_token']}"
        answers = [api.post("/v1/oauth-clients", json=body) for _ in range(CLIENTS)]
    return tenant, [str(answer.raise_for_status().json()["id"]) for answer in answers]


@contextmanager
def _provider(place: Ground, key: SigningKey) -> Generator[Side | None]:
    """oidc-provider, or None where it is not installed."""
    if not (NODE / "node_modules" / ".installed").exists():
        yield None
        return
    folder = place.folder / "provider"
    folder.mkdir()
    authority, port = Authority(folder), free_port()
    server = authority.server()
    clients = [f"client-{number}" for number in range(CLIENTS)]
    given = {
        "port": port,
        "certificate": str(server.certificate),
        "key": str(server.key),
        "clients": [{"id": client, "jwk": _public(key)} for client in clients],
    }
    process = subprocess.Popen(
        ["node", "provider.mjs"],
        cwd=NODE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(given))
            process.stdin.close()
            said = process.stdout.readline()
            if not said:
                raise ProgramFailed(f"oidc-provider ended with {process.wait()}")
            yield Side(
                issuer=f"https://localhost:{port}",
                paths=("/token", "/token/introspection"),
                ca_file=str(authority.trusted_by_devices),
                clients=clients,
                watch={"server": process.pid},
            )
        finally:
            process.terminate()
            process.wait(STOP_S)


def _public(key: SigningKey) -> dict[str, str]:
    return {name: key.jwk[name] for name in ("kty", "crv", "x", "y", "kid", "use", "alg")}
