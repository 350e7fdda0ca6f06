"""`link-identity setup`: how far the platform is set up, and what is left to do."""

from typing import Any

import msgspec
import rich_click as click

from interfaces.cli.output import facts, json_option, line
from interfaces.cli.session import with_platform
from interfaces.composition import Platform


@click.command("setup")
@json_option
def setup(as_json: bool) -> None:
    """Show what a first start made, and what is left for you to do."""

    async def command(platform: Platform) -> dict[str, Any]:
        await platform.serving.keeper.open()
        found: dict[str, Any] = msgspec.to_builtins(await platform.services.setup.read())
        return found

    found = with_platform(command)
    if as_json:
        line(found)
        return
    shown = {
        each["item"]: ": ".join(filter(None, (each["state"], each["todo"])))
        for each in found["items"]
    }
    facts({"complete": found["complete"], **shown}, as_json=False)
