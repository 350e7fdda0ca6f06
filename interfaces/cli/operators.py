"""`link-identity operators`: console people, for whoever has the platform's own machine."""

from typing import Any

import rich_click as click

from application.console.first_admin import INITIAL, initial_password
from application.console.operators import described
from domain import email
from domain.errors import NotFound
from domain.ids import PLATFORM, TenantId, wire
from domain.operator import Operator
from interfaces.cli.output import facts, json_option
from interfaces.cli.session import caller, tenant_of, with_platform
from interfaces.composition import Platform

tenant_option = click.option(
    "--tenant", metavar="TENANT", help="Of this tenant; without it, of the platform itself."
)


@click.group()
def operators() -> None:
    """Invite console people, and let in again who has lost every way in."""


@operators.command("invite")
@click.argument("address")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["platform_admin", "tenant_admin", "tenant_operator"]),
    default="platform_admin",
    show_default=True,
)
@tenant_option
@json_option
def invite(address: str, name: str, role: Any, tenant: str | None, as_json: bool) -> None:
    """Invite NAME at the e-mail ADDRESS. The invitation is shown once, here: pass it on."""

    async def command(platform: Platform) -> dict[str, Any]:
        tenant_id = _tenant(tenant)
        if tenant_id != PLATFORM:
            await platform.tenants.get(tenant_id)
        made = await platform.services.console.operators.invite(
            caller(tenant_id), described(address, name), role, None
        )
        return {"operator_id": wire("opr", made.operator.id), "invitation": made.invitation}

    facts(with_platform(command), as_json=as_json)


@operators.command("recover")
@click.argument("address")
@tenant_option
@json_option
def recover(address: str, tenant: str | None, as_json: bool) -> None:
    """Give who has ADDRESS a new initial password, shown once, here.

    It counts for 24 hours and must be changed at the first sign-in. Every second factor and every
    session of the person ends, and who was suspended may come in again.
    """

    async def command(platform: Platform) -> dict[str, Any]:
        tenant_id = _tenant(tenant)
        found = await _person(platform, tenant_id, address)
        password = initial_password(platform.ids)
        hashed = await platform.passwords.hashed(password, INITIAL)
        await platform.services.console.operators.recover(caller(tenant_id), found.id, hashed)
        return {"operator_id": wire("opr", found.id), "initial_password": password}

    facts(with_platform(command), as_json=as_json)


@operators.command("remove")
@click.argument("address")
@tenant_option
@json_option
def remove(address: str, tenant: str | None, as_json: bool) -> None:
    """Remove who has ADDRESS for good; the last Platform Admin stays."""

    async def command(platform: Platform) -> dict[str, Any]:
        tenant_id = _tenant(tenant)
        found = await _person(platform, tenant_id, address)
        await platform.services.console.operators.remove(caller(tenant_id), found.id)
        return {"removed": wire("opr", found.id)}

    facts(with_platform(command), as_json=as_json)


def _tenant(tenant: str | None) -> TenantId:
    return PLATFORM if tenant is None else tenant_of(tenant)


async def _person(platform: Platform, tenant_id: TenantId, address: str) -> Operator:
    """Raises NotFound (`operator_not_found`)."""
    found = await platform.services.console.operators.by_email(tenant_id, email.normalised(address))
    if found is None:
        raise NotFound("operator_not_found")
    return found
