"""`link-identity tenants` and `clients`: who is served, and whose backends may call."""

from typing import Any

import msgspec
import rich_click as click

from application.permissions import SCOPES
from domain.ids import PLATFORM, TenantId, wire
from interfaces.cli.output import facts, json_option
from interfaces.cli.session import WrongArgument, caller, tenant_of, with_platform
from interfaces.composition import Platform


@click.group()
def tenants() -> None:
    """Create tenants and set what they decide for themselves."""


@tenants.command("create")
@click.argument("name")
@click.option("--sandbox", is_flag=True, help="For trying, for ever: transactions are simulated.")
@json_option
def create_tenant(name: str, sandbox: bool, as_json: bool) -> None:
    """Create a tenant called NAME."""

    async def command(platform: Platform) -> dict[str, Any]:
        tenant_id = TenantId(platform.ids.uuid())
        tenant = await platform.tenants.create(caller(tenant_id), name, sandbox=sandbox)
        return {
            "tenant_id": wire("ten", tenant.id),
            "name": tenant.name,
            "sandbox": tenant.sandbox,
        }

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


@click.group()
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
    """Register a backend called NAME for TENANT. The secret is shown once, here.

    TENANT ten_00000000000000000000000000000000 is the platform itself, whose backends see its own
    audit and the tree over all tenants' checkpoints.
    """

    async def command(platform: Platform) -> dict[str, Any]:
        tenant_id = tenant_of(tenant)
        if tenant_id != PLATFORM:
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


def _change(text: str) -> tuple[str, Any]:
    """`palm_model="small"`, `kyc_required=true`; a value that is no JSON is taken as text."""
    name, separator, value = text.partition("=")
    if not separator:
        raise WrongArgument(f"{text!r} is not NAME=JSON")
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value
