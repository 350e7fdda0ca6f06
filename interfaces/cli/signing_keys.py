"""The commands of `link-identity signing-keys`: which keys sign tokens, and the next ones."""

from typing import Any

import rich_click as click

from domain.ids import PLATFORM
from infrastructure.keys.signing_key_keeper import FAMILIES
from interfaces.cli.output import facts, json_option, line
from interfaces.cli.session import caller, with_platform
from interfaces.composition import Platform


@click.group("signing-keys")
def signing_keys() -> None:
    """Show and rotate the keys that sign access tokens and identity assertions."""


@signing_keys.command("show")
@json_option
def show(as_json: bool) -> None:
    """Show the published keys of each family by kid, the one that signs first; never a key."""

    async def command(platform: Platform) -> dict[str, list[str]]:
        return {family: platform.signing.kids(family) for family in FAMILIES}

    found = with_platform(command)
    if as_json:
        line(found)
        return
    facts({family: ", ".join(kids) for family, kids in found.items()}, as_json=False)


@signing_keys.command("rotate")
@click.argument("family", type=click.Choice(FAMILIES))
@click.option("--leaked", is_flag=True, help="Sign with it at once, believe the others no more.")
@json_option
def rotate(family: str, leaked: bool, as_json: bool) -> None:
    """Make the next key of FAMILY while everything serves; it signs in a quarter of an hour.

    Every thirty days this happens by itself.
    """

    async def command(platform: Platform) -> dict[str, Any]:
        kid = await platform.signing.rotate(family, leaked=leaked)
        await platform.key_records.record(caller(PLATFORM))
        return {"family": family, "kid": kid}

    facts(with_platform(command), as_json=as_json)
