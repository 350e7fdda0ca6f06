"""The commands of `link-identity`; those of a group stand in a module of their own."""

import asyncio
import sys

import msgspec
import rich_click as click

from infrastructure.clock import SystemClock
from infrastructure.edge.listeners import new_event_loop
from infrastructure.messages.inbox import Inbox
from interfaces.cli.deliveries import deliveries
from interfaces.cli.device_ca import device_ca
from interfaces.cli.event_log import log
from interfaces.cli.exit_codes import exit_code
from interfaces.cli.keys import keys
from interfaces.cli.operators import operators
from interfaces.cli.output import facts, json_option, line, notice
from interfaces.cli.palms import palms
from interfaces.cli.read_models import projections
from interfaces.cli.server_certificate import server_certificate
from interfaces.cli.session import WrongArgument, configure_logging
from interfaces.cli.setup import setup
from interfaces.cli.signing_keys import signing_keys
from interfaces.cli.tenants import clients, tenants
from interfaces.process import ROLES, Addresses, Role, prepare, run
from interfaces.servers import servers
from interfaces.settings import Settings

FIRST_RUN = (
    "First start: a device CA, a server CA and a server certificate by it were made. Give clients"
    " {ca_file} to trust, or bring a certificate of your own; `link-identity setup` says what is"
    " left to do."
)


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
            "internal": addresses.internal,
            "ca_file": str(addresses.ca_file),
            "roles": list(roles or ROLES),
        }
        if as_json:
            line({"event": "started", **told})
        else:
            facts({name: value for name, value in told.items() if value}, as_json=False)
        if addresses.first_run:
            notice(FIRST_RUN.format(ca_file=addresses.ca_file))

    def seeded(email: str, password: str) -> None:
        told = {"platform_admin": email, "initial_password": password}
        if as_json:
            line({"event": "seeded", **told})
        else:
            facts(told, as_json=False)

    with servers(settings, notice) as found:
        prepare(found)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(run(settings, found, roles or ROLES, started, seeded))


@commands.command("migrate")
@json_option
def migrate_command(as_json: bool) -> None:
    """Bring the database's schema up to date."""
    settings = Settings.from_environment()
    with servers(settings, notice) as found:
        applied = prepare(found)
    facts({"applied": applied if as_json else ", ".join(applied) or "nothing new"}, as_json=as_json)


@commands.group()
def inbox() -> None:
    """Read the development inbox, where one-time codes lie when no gateway is configured."""


@inbox.command("read")
@click.argument("mobile")
@json_option
def read_inbox(mobile: str, as_json: bool) -> None:
    """Show the newest code that was sent to MOBILE."""
    settings = Settings.from_environment()
    message = Inbox(settings.data_dir / "inbox", SystemClock()).read(mobile)
    if message is None:
        raise WrongArgument(f"no message for {mobile}")
    facts(msgspec.to_builtins(message), as_json=as_json)


for group in (
    tenants,
    clients,
    operators,
    keys,
    device_ca,
    server_certificate,
    setup,
    signing_keys,
    log,
    projections,
    deliveries,
    palms,
):
    commands.add_command(group)


def main() -> None:
    """The entry point: refusals are told in one line, and become exit codes."""
    sys.exit(exit_code(lambda: commands(standalone_mode=False, prog_name="link-identity")))
