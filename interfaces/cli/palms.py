"""`link-identity palms`: what a vendor that never answers leaves to be done by hand."""

from typing import Any, get_args

import rich_click as click

from domain.enrollment import Attestation
from domain.ids import PalmRef, parse
from interfaces.cli.output import facts, json_option
from interfaces.cli.session import WrongArgument, caller, tenant_of, with_platform
from interfaces.composition import Platform


@click.group()
def palms() -> None:
    """End removals of palms that the vendor does not end."""


@palms.command("attest-removal")
@click.argument("tenant")
@click.argument("palm")
@click.option(
    "--reason",
    type=click.Choice(get_args(Attestation)),
    required=True,
    help="The vendor deleted it and said so elsewhere, or the vendor is no more.",
)
@click.option("--reference", required=True, help="Where the written proof is; nobody's name.")
@json_option
def attest_removal(
    tenant: str, palm: str, reason: Attestation, reference: str, as_json: bool
) -> None:
    """Stand for it that the vendor has the template PALM (plm_...) of TENANT no more.

    Only for a palm that is being removed, after the vendor was asked and would not. It stands in
    the log, and in what the tenant is shown, in the place of the vendor's answer.
    """
    palm_ref = parse("plm", palm)
    if palm_ref is None:
        raise WrongArgument(f"{palm!r} is not the reference of a palm (plm_...)")

    async def command(platform: Platform) -> dict[str, Any]:
        await platform.templates.attest(
            caller(tenant_of(tenant)), PalmRef(palm_ref), reason, reference
        )
        return {"palm_ref": palm, "attested": reason, "attested_under": reference}

    facts(with_platform(command), as_json=as_json)
