"""One process of the platform: its roles, its listeners, and how it ends."""

import asyncio
import gc
import os
import resource
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal, cast

import msgspec
import psycopg

from infrastructure.durability import assert_durable
from infrastructure.edge.client_certificates import ClientTls, client_protocol
from infrastructure.edge.listeners import Listener, device_protocol, serve
from infrastructure.edge.protocol import ASGIApp
from infrastructure.edge.tls import DeviceTls, PublicTls
from infrastructure.metrics import CONTENT_TYPE
from infrastructure.migrate import migrate
from interfaces.composition import Platform
from interfaces.first_admin import Seeded, seed_first_admin
from interfaces.http.admission import Admission
from interfaces.http.apps import Apps, build
from interfaces.http.internal import internal
from interfaces.measured import measure_listeners
from interfaces.mtls_settings import MtlsSettings
from interfaces.presence import Presence
from interfaces.servers import RedisRequired, Servers
from interfaces.settings import Settings

Role = Literal["api", "edge", "worker"]
ROLES: Final[tuple[Role, ...]] = ("api", "edge", "worker")
DRAIN_S: Final = 15.0
"""How long a running request may take to end: longer than any device's deadline (10 s)."""

FILES: Final = 65_536
ALLOCATIONS_PER_COLLECTION: Final = 20_000


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where this process listens; None for a role that it does not have."""

    public: str | None
    device: str | None
    internal: str
    ca_file: Path
    first_run: bool
    """Whether it was this process that made the first server certificate."""


def prepare(servers: Servers) -> list[str]:
    """Bring the schema up to date and refuse a database that could lose what it acknowledged.

    Raises MigrationRefused, UnsafePostgres, psycopg.Error.
    """
    with psycopg.connect(servers.dsn, autocommit=True) as connection:
        assert_durable(connection)
    return migrate(servers.dsn)


async def run(
    settings: Settings,
    servers: Servers,
    roles: Sequence[Role],
    started: Callable[[Addresses], None],
    seeded: Seeded,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT (or `stop`), then let running requests finish.

    Raises RedisRequired when this is one of several processes and there is no Redis.
    """
    stop = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listeners: list[tuple[str, Listener]] = []
    shared = servers.redis_url is not None
    if not shared and set(roles) != set(ROLES):
        raise RedisRequired("serve all roles in one process, or set LINK_REDIS_URL")
    allow_many_files()
    async with (
        Presence(servers.dsn, shared=shared) as presence,
        Platform(settings, servers.dsn, servers.redis_url) as platform,
    ):
        if "worker" in roles:
            await platform.project()
            await platform.duties.forget()
            await platform.duties.deliver()
            await platform.duties.sweep()
            await platform.duties.record_keys()
            await platform.duties.watch()
        await platform.follow()
        await seed_first_admin(platform.services.console.first_admin, settings.first_admin, seeded)
        apps = build(platform.services)
        ca_file = write_ca(settings, platform)
        try:
            internal_listener = await listen_internal(platform)
            listeners.append(("internal", internal_listener))
            if "api" in roles:
                listeners.append(("public", await listen_public(platform, apps)))
                if settings.mtls is not None:
                    listeners.append(("mtls", await listen_mtls(platform, apps, settings.mtls)))
            if "edge" in roles:
                listeners.append(("device", await listen_devices(platform, apps)))
            measure_listeners(platform.metrics, listeners)
            spare_what_stays()
            started(
                Addresses(
                    public=settings.issuer if "api" in roles else None,
                    device=platform.services.device_api if "edge" in roles else None,
                    internal=_address(settings.internal_host, internal_listener.port),
                    ca_file=ca_file,
                    first_run=platform.serving.first_run,
                )
            )
            await _until(stop, platform, presence)
        finally:
            await leave(platform, listeners)


async def leave(platform: Platform, listeners: Sequence[tuple[str, Listener]]) -> None:
    """Have nobody sent here, let what runs end, and stop; the internal listener tells of it.

    For `LINK_DRAIN_NOTICE_S` seconds requests are still taken, while `/ready` says that they
    should go elsewhere: a balancer that looks every few seconds sends some until it has looked.
    """
    platform.readiness.leaving = True
    serving = [listener for name, listener in listeners if name != "internal"]
    if serving:
        await asyncio.sleep(platform.settings.drain_notice_s)
    platform.audit_feed.close()  # readers of it stay for as long as they are let
    platform.bells.close()
    await asyncio.gather(*(listener.stop(drain_s=DRAIN_S) for listener in serving))
    for name, listener in listeners:
        if name == "internal":
            await listener.stop(drain_s=1.0)


def allow_many_files() -> None:
    """A connection is an open file, and the usual limit of 1,024 is less than a listener takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def spare_what_stays() -> None:
    """Have the garbage collector leave alone what was made to start and lives as long as we do.

    Walking all of it again and again stopped every request for 50 ms at a time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS_PER_COLLECTION, 20, 50)


def admitting(platform: Platform, app: ASGIApp) -> Admission:
    """What stands in front of a listener's application."""
    return Admission(
        app,
        requests_max=platform.settings.requests_max,
        places=platform.places,
        lateness=platform.lateness,
        traffic=platform.traffic,
    )


async def listen_public(platform: Platform, apps: Apps) -> Listener:
    """Everything but devices: TLS with our certificate, no client certificate."""
    settings = platform.settings
    chain, key = platform.serving.keeper.presented("public")
    tls = PublicTls(certificate_chain_pem=chain, private_key_pem=key)
    platform.serving.keeper.tell("public", tls.certify)
    return await serve(
        admitting(platform, cast("ASGIApp", apps.public)),
        host=settings.public_host,
        port=settings.public_port,
        ssl_context=tls.listening,
    )


async def listen_mtls(platform: Platform, apps: Apps, mtls: MtlsSettings) -> Listener:
    """What the public listener serves, for clients that show a certificate (RFC 8705)."""
    settings = platform.settings
    chain, key = platform.serving.keeper.presented("public")
    tls = ClientTls(certificate_chain_pem=chain, private_key_pem=key)
    platform.serving.keeper.tell("public", tls.certify)
    platform.client_trust.tell(tls.trust)
    return await serve(
        admitting(platform, cast("ASGIApp", apps.public)),
        host=settings.public_host,
        port=mtls.port,
        ssl_context=tls.listening,
        http_protocol=client_protocol,
    )


async def listen_devices(platform: Platform, apps: Apps) -> Listener:
    """Devices only: TLS 1.3 with a certificate of our device CA that is not revoked."""
    settings = platform.settings
    chain, key = platform.serving.keeper.presented("device")
    tls = DeviceTls(
        certificate_chain_pem=chain,
        private_key_pem=key,
        device_cas_pem=platform.authority.device_ca_pem(),
        revocations=platform.revocations,
    )
    platform.device_cas.tell(tls.trust)
    platform.serving.keeper.tell("device", tls.certify)
    return await serve(
        admitting(platform, apps.device),
        host=settings.device_host,
        port=settings.device_port,
        ssl_context=tls.listening,
        http_protocol=device_protocol(platform.revocations),
    )


async def listen_internal(platform: Platform) -> Listener:
    """For whoever runs the platform; plain HTTP."""
    settings = platform.settings
    app = internal(platform.services.readiness, platform.metrics, CONTENT_TYPE)
    return await serve(
        cast("ASGIApp", app),
        host=settings.internal_host,
        port=settings.internal_port,
        ssl_context=None,
    )


def write_ca(settings: Settings, platform: Platform) -> Path:
    """Leave the CA that clients must trust where `curl --cacert` finds it."""
    path = settings.data_dir / "pki" / "server-ca.pem"
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".server-ca.{os.getpid()}.pem")
    fresh.write_text(platform.authority.ca_bundle_pem())
    fresh.replace(path)
    return path


async def _until(stop: asyncio.Event, platform: Platform, presence: Presence) -> None:
    """Wait to be stopped; a projector, a tail or rounds that die of a bug take the process along.

    So does another process that took our place while the database was away (RedisRequired).
    """
    try:
        await _watching(stop, platform, presence)
    except BaseExceptionGroup as ended:
        raise ended.exceptions[0] from None


async def _watching(stop: asyncio.Event, platform: Platform, presence: Presence) -> None:
    async with asyncio.TaskGroup() as watched:
        failing = [
            watched.create_task(platform.runner.until_failure()),
            watched.create_task(platform.tail.until_failure()),
            watched.create_task(platform.signing.until_failure()),
            watched.create_task(platform.device_cas.until_failure()),
            watched.create_task(platform.serving.keeper.until_failure()),
            watched.create_task(platform.digester.until_failure()),
            watched.create_task(presence.until_refused()),
            watched.create_task(platform.transparency.keeper.until_failure()),
            *(watched.create_task(each.until_failure()) for each in platform.status_fetchers),
            *(watched.create_task(each.until_failure()) for each in platform.duties.all),
        ]
        await watched.create_task(stop.wait())
        for task in failing:
            task.cancel()


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
