"""`link-identity projections`: where the read models stand, and what mends one."""

from typing import Any

import msgspec
import rich_click as click

from interfaces.cli.output import facts, json_option, line
from interfaces.cli.session import with_platform
from interfaces.composition import Platform
from projections.catalogue import READ_MODELS

read_model_name = click.argument("name", type=click.Choice([model.name for model in READ_MODELS]))


@click.group()
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
@read_model_name
@json_option
def resume_projection(name: str, as_json: bool) -> None:
    """Let the halted read model NAME try the event again that it halted at."""
    resumed = with_platform(lambda platform: platform.runner.resume(name))
    facts({"name": name, "resumed": resumed}, as_json=as_json)


@projections.command("rebuild")
@read_model_name
@json_option
def rebuild_projection(name: str, as_json: bool) -> None:
    """Build the read model NAME from the log beside the live one, then swap."""
    position = with_platform(lambda platform: platform.runner.rebuild(name))
    facts({"name": name, "position": position}, as_json=as_json)
