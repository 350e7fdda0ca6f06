"""The commands of `link-identity device-ca`: the change from one device CA to the next."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import rich_click as click

from application.fleet.device_cas import REGENERATE, SPREAD_MAX_S, DeviceCAs
from application.principals import Caller
from domain.ids import PLATFORM
from interfaces.cli.approvals import approval_of, approval_option, asked
from interfaces.cli.output import facts, json_option, line
from interfaces.cli.session import caller, with_platform
from interfaces.composition import Platform
from interfaces.http.integrator.device_cas import RotationShown, shown

force_option = click.option(
    "--force", is_flag=True, help="Leave devices behind; they recover by the key that they have."
)


@click.group("device-ca")
def device_ca() -> None:
    """Show and change the CA that signs devices, while the fleet goes on."""


@device_ca.command("show")
@json_option
def show(as_json: bool) -> None:
    """Show the phase, the devices on each CA, and those that have not followed."""

    async def command(platform: Platform) -> RotationShown:
        return shown(await platform.services.device_cas.standing())

    _told(with_platform(command), as_json=as_json)


@device_ca.command("prepare")
@json_option
def prepare(as_json: bool) -> None:
    """Make the next CA and have it trusted; it issues nothing yet."""
    _take(lambda cas, by: cas.announce(by), as_json=as_json)


@device_ca.command("issue")
@click.option(
    "--spread-s",
    type=click.IntRange(0, SPREAD_MAX_S),
    default=86_400,
    show_default=True,
    help="Within how many seconds devices are told to renew.",
)
@json_option
def issue(spread_s: int, as_json: bool) -> None:
    """Issue by the announced CA; devices renew."""
    _take(lambda cas, by: cas.issue(by, spread_s=spread_s), as_json=as_json)


@device_ca.command("finalize")
@force_option
@json_option
def finalize(force: bool, as_json: bool) -> None:
    """Retire the CA of before; refused while devices are still on it."""
    _take(lambda cas, by: cas.finalize(by, force=force), as_json=as_json)


@device_ca.command("rollback")
@force_option
@json_option
def rollback(force: bool, as_json: bool) -> None:
    """Take one step back: the CA of before issues again, or the announced one is withdrawn."""
    _take(lambda cas, by: cas.roll_back(by, force=force), as_json=as_json)


@device_ca.command("regenerate")
@click.option("--confirm", required=True, metavar="TEXT", help=f'Written out: "{REGENERATE}".')
@approval_option
@json_option
def regenerate(confirm: str, approval: str | None, as_json: bool) -> None:
    """Believe no CA of before, as after a theft of its key: every device must be paired again.

    It takes two people.
    """
    if approval is not None:
        approval_id = approval_of(approval)
        _take(
            lambda cas, by: cas.regenerate(
                msgspec.structs.replace(by, approval_id=approval_id), confirm
            ),
            as_json=as_json,
        )
        return

    async def command(platform: Platform) -> dict[str, str]:
        cas = platform.services.device_cas
        return asked(await cas.ask_regeneration(caller(PLATFORM), confirm))

    facts(with_platform(command), as_json=as_json)


def _take(step: Callable[[DeviceCAs, Caller], Awaitable[object]], *, as_json: bool) -> None:
    async def command(platform: Platform) -> RotationShown:
        cas = platform.services.device_cas
        await step(cas, caller(PLATFORM))
        return shown(await cas.standing())

    _told(with_platform(command), as_json=as_json)


def _told(found: RotationShown, *, as_json: bool) -> None:
    values: dict[str, Any] = msgspec.to_builtins(found)
    if as_json:
        line(values)
        return
    laggards = values.pop("laggards")
    facts(values, as_json=False)
    for each in laggards:
        facts(each, as_json=False)
