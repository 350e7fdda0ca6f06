"""The commands of `link-identity`. Exit codes: 0 done, 1 refused, 2 could not run."""

import asyncio
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import psycopg
import rich_click as click

from application.permissions import SCOPES
from domain.errors import Refusal
from domain.events import Recorded
from domain.ids import PLATFORM, TenantId, wire
from infrastructure.edge.listeners import ListenerFailed, new_event_loop
from infrastructure.embedded.account import ServerUnusable
from infrastructure.event_log.blocks import BadBlock, verify_blocks
from infrastructure.event_log.mapper import UnknownEvent
from infrastructure.event_log.positions import LogGap
from infrastructure.event_log.session import ConnectionLost
from infrastructure.keyring import KeyringUnusable
from infrastructure.messages.sms_gateway import SmsGatewayMisconfigured
from infrastructure.migrate import MigrationRefused
from infrastructure.platform_ca import PlatformCAUnusable
from infrastructure.postgres_settings import UnsafePostgres
from infrastructure.projections.tables import ReadModelChanged
from infrastructure.signing_keys import SigningKeyUnusable
from interfaces.cli.output import facts, line, notice
from interfaces.cli.session import (
    WrongArgument,
    caller,
    configure_logging,
    tenant_of,
    with_platform,
)
from interfaces.composition import Platform
from interfaces.environment import SettingsInvalid
from interfaces.process import ROLES, Addresses, Role, prepare, run
from interfaces.servers import RedisRequired, servers
from interfaces.settings import Settings

T = TypeVar("T")

CANNOT_RUN = (
    ConnectionLost,
    LogGap,
    PlatformCAUnusable,
    ReadModelChanged,
    SettingsInvalid,
    SigningKeyUnusable,
    SmsGatewayMisconfigured,
    UnknownEvent,
    ServerUnusable,
    KeyringUnusable,
    MigrationRefused,
    UnsafePostgres,
    RedisRequired,
    ListenerFailed,
    psycopg.Error,
    TimeoutError,
)

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """The Link Identity Platform: identify a palm, ask the product, prove what happened."""


@commands.command()
@click.argument("roles", nargs=-1, type=click.Choice(ROLES))
@json_option
def serve(roles: tuple[Role, ...], as_json: bool) -> None:
    """Serve until stopped: all ROLES in one process, or only those named (api, edge, worker)."""
    settings = Settings.from_environment()
    configure_logging(settings.log_level)
    for text in settings.notices():
        notice(text)

    def started(addresses: Addresses) -> None:
        told = {
            "public": addresses.public,
            "device": addresses.device,
            "ca_file": str(addresses.ca_file),
            "roles": list(roles or ROLES),
        }
        if as_json:
            line({"event": "started", **told})
        else:
            facts({name: value for name, value in told.items() if value}, as_json=False)

    with servers(settings, notice) as found:
        prepare(found)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(run(settings, found, roles or ROLES, started))


@commands.command("migrate")
@json_option
def migrate_command(as_json: bool) -> None:
    """Bring the database's schema up to date."""
    settings = Settings.from_environment()
    with servers(settings, notice) as found:
        applied = prepare(found)
    facts({"applied": applied if as_json else ", ".join(applied) or "nothing new"}, as_json=as_json)


@commands.group()
def tenants() -> None:
    """Create tenants and set what they decide for themselves."""


@tenants.command("create")
@click.argument("name")
@json_option
def create_tenant(name: str, as_json: bool) -> None:
    """Create a tenant called NAME."""

    async def command(platform: Platform) -> dict[str, Any]:
        tenant_id = TenantId(platform.ids.uuid())
        tenant = await platform.tenants.create(caller(tenant_id), name)
        return {"tenant_id": wire("ten", tenant.id), "name": tenant.name}

    facts(with_platform(command), as_json=as_json)


@tenants.command("settings")
@click.argument("tenant")
@click.option("--set", "changes", multiple=True, metavar="NAME=JSON", help="May be repeated.")
@json_option
def tenant_settings(tenant: str, changes: tuple[str, ...], as_json: bool) -> None:
    """Show the settings of TENANT, after changing those that are named."""

    async def command(platform: Platform) -> dict[str, Any]:
        tenant_id = tenant_of(tenant)
        if changes:
            await platform.tenants.change_settings(
                caller(tenant_id), dict(_change(change) for change in changes)
            )
        found = await platform.tenants.get(tenant_id)
        shown: dict[str, Any] = msgspec.to_builtins(found.settings)
        return shown

    facts(with_platform(command), as_json=as_json)


@commands.group()
def clients() -> None:
    """Register the backends of integrators."""


@clients.command("create")
@click.argument("tenant")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(sorted(SCOPES)),
    help="May be repeated; all scopes by default.",
)
@json_option
def create_client(tenant: str, name: str, scopes: tuple[str, ...], as_json: bool) -> None:
    """Register a backend called NAME for TENANT. The secret is shown once, here."""

    async def command(platform: Platform) -> dict[str, Any]:
        tenant_id = tenant_of(tenant)
        await platform.tenants.get(tenant_id)
        registered = await platform.services.clients.register(
            caller(tenant_id), name, frozenset(scopes or SCOPES)
        )
        return {
            "client_id": wire("cli", registered.client_id),
            "client_secret": registered.secret,
            "scope": " ".join(sorted(scopes or SCOPES)),
        }

    facts(with_platform(command), as_json=as_json)


@commands.group()
def log() -> None:
    """Look at the event log."""


@log.command("tail")
@click.option("--tenant", help="Only this tenant's events.")
@click.option("--after", default=0, show_default=True, help="Begin after this position.")
@click.option("--follow/--no-follow", default=False, help="Wait for more.")
def tail(tenant: str | None, after: int, follow: bool) -> None:
    """Print events in the order of the log, one JSON object a line."""
    wanted = None if tenant is None else tenant_of(tenant)

    async def command(platform: Platform) -> None:
        position = after
        while True:
            events = await platform.log.read(position, 500)
            for recorded in events:
                position = recorded.position
                if wanted is None or recorded.tenant_id == wanted:
                    line(_event(recorded))
            if not events:
                if not follow:
                    return
                await asyncio.sleep(0.2)

    with_platform(command)


@log.command("check")
@json_option
def check_log(as_json: bool) -> None:
    """Verify the chain of blocks over the whole log; exit 1 names the first bad block."""

    async def command(platform: Platform) -> dict[str, Any]:
        async with platform.projector_pool.connection() as connection:
            return {"ok": True, "blocks": await verify_blocks(connection)}

    try:
        facts(with_platform(command), as_json=as_json)
    except BadBlock as error:
        facts({"ok": False, "reason": str(error)}, as_json=as_json)
        sys.exit(1)


@commands.group()
def inbox() -> None:
    """Read the development inbox, where one-time codes lie when no gateway is configured."""


@inbox.command("read")
@click.argument("mobile")
@json_option
def read_inbox(mobile: str, as_json: bool) -> None:
    """Show the newest code that was sent to MOBILE."""
    from infrastructure.clock import SystemClock
    from infrastructure.messages.inbox import Inbox

    settings = Settings.from_environment()
    message = Inbox(settings.data_dir / "inbox", SystemClock()).read(mobile)
    if message is None:
        raise WrongArgument(f"no message for {mobile}")
    facts(msgspec.to_builtins(message), as_json=as_json)


@commands.group()
def projections() -> None:
    """See how far the read models are, let a halted one go on, build one anew."""


@projections.command("status")
@json_option
def projection_status(as_json: bool) -> None:
    """List every read model with its position and lag."""

    async def command(platform: Platform) -> list[dict[str, Any]]:
        return [msgspec.to_builtins(status) for status in await platform.runner.status()]

    for status in with_platform(command):
        line(status) if as_json else facts(status, as_json=False)


@projections.command("resume")
@click.argument("name")
@json_option
def resume_projection(name: str, as_json: bool) -> None:
    """Let the halted read model NAME try the event again that it halted at."""
    resumed = with_platform(lambda platform: platform.runner.resume(name))
    facts({"name": name, "resumed": resumed}, as_json=as_json)


@projections.command("rebuild")
@click.argument("name")
@json_option
def rebuild_projection(name: str, as_json: bool) -> None:
    """Build the read model NAME from the log beside the live one, then swap."""
    position = with_platform(lambda platform: platform.runner.rebuild(name))
    facts({"name": name, "position": position}, as_json=as_json)


def _change(text: str) -> tuple[str, Any]:
    """`palm_model="small"`, `kyc_required=true`; a value that is no JSON is taken as text."""
    name, separator, value = text.partition("=")
    if not separator:
        raise WrongArgument(f"{text!r} is not NAME=JSON")
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value


def _event(recorded: Recorded) -> dict[str, Any]:
    tenant_id = recorded.tenant_id
    return {
        "position": recorded.position,
        "recorded_at": recorded.recorded_at.isoformat(),
        "tenant": "platform" if tenant_id == PLATFORM else wire("ten", tenant_id),
        "stream": str(recorded.stream_id),
        "version": recorded.version,
        "name": recorded.event.NAME,
        "actor": recorded.actor,
        "correlation_id": str(recorded.correlation_id),
        "data": msgspec.to_builtins(recorded.event),
    }


def main() -> None:
    """The entry point: refusals are told in one line, and become exit codes."""
    sys.exit(_guarded(lambda: commands(standalone_mode=False, prog_name="link-identity")))


def _guarded(command: Callable[[], object]) -> int:
    try:
        command()
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        return 130
    except (Refusal, WrongArgument, KeyError) as error:
        detail = getattr(error, "detail", None)
        notice(f"refused: {error}" + (f" ({detail})" if detail else ""))
        return 1
    except CANNOT_RUN as error:
        notice(f"cannot run: {error}")
        return 2
    return 0
