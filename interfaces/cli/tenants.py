"""`link-identity tenants` and `clients`: who is served, and whose backends may call."""

from typing import Any, get_args

import msgspec
import rich_click as click

from application.execute import Done
from application.permissions import PLATFORM_SCOPES, SCOPES
from domain.ids import PLATFORM, TenantId, wire
from domain.tenant import SuspensionReason, Tenant
from interfaces.cli.approvals import approval_of, approval_option, asked
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


@tenants.command("suspend")
@click.argument("tenant")
@click.option(
    "--reason",
    type=click.Choice(get_args(SuspensionReason)),
    default="unspecified",
    show_default=True,
)
@json_option
def suspend_tenant(tenant: str, reason: SuspensionReason, as_json: bool) -> None:
    """Serve nobody of TENANT from now on: no device, no backend, no person, no webhook."""

    async def command(platform: Platform) -> dict[str, Any]:
        lifecycle = platform.services.tenant_lifecycle
        return _shown(*await lifecycle.suspend(caller(PLATFORM), tenant_of(tenant), None, reason))

    facts(with_platform(command), as_json=as_json)


@tenants.command("resume")
@click.argument("tenant")
@json_option
def resume_tenant(tenant: str, as_json: bool) -> None:
    """Serve TENANT again."""

    async def command(platform: Platform) -> dict[str, Any]:
        lifecycle = platform.services.tenant_lifecycle
        return _shown(*await lifecycle.resume(caller(PLATFORM), tenant_of(tenant), None))

    facts(with_platform(command), as_json=as_json)


@tenants.command("delete")
@click.argument("tenant")
@approval_option
@json_option
def delete_tenant(tenant: str, approval: str | None, as_json: bool) -> None:
    """Destroy all that is held for TENANT, which is suspended. It takes two people, and a day."""

    async def command(platform: Platform) -> dict[str, Any]:
        lifecycle, tenant_id = platform.services.tenant_lifecycle, tenant_of(tenant)
        if approval is None:
            return asked(await lifecycle.ask_deletion(caller(PLATFORM), tenant_id))
        of_two = msgspec.structs.replace(caller(PLATFORM), approval_id=approval_of(approval))
        return _shown(*await lifecycle.delete(of_two, tenant_id))

    facts(with_platform(command), as_json=as_json)


def _shown(tenant: Tenant, done: Done) -> dict[str, Any]:
    return {
        "tenant_id": wire("ten", tenant.id),
        "name": tenant.name,
        "status": tenant.status,
        "position": done.position,
    }


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

    TENANT ten_00000000000000000000000000000000 is the platform itself, whose backends manage
    the tenants and see the platform's own audit and the tree over all tenants' checkpoints.
    """

    async def command(platform: Platform) -> dict[str, Any]:
        tenant_id = tenant_of(tenant)
        granted = frozenset(scopes or SCOPES)
        if tenant_id != PLATFORM:
            await platform.tenants.get(tenant_id)
            granted -= PLATFORM_SCOPES
        registered = await platform.services.clients.register(caller(tenant_id), name, granted)
        return {
            "client_id": wire("cli", registered.client_id),
            "client_secret": registered.secret,
            "scope": " ".join(sorted(granted)),
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
