"""The commands of `link-identity server-certificate`: what our own listeners show."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from application.fleet.server_certificates import ServerCertificates
from application.principals import Caller
from domain.ids import PLATFORM
from interfaces.cli.output import facts, json_option, line
from interfaces.cli.session import WrongArgument, caller, with_platform
from interfaces.composition import Platform
from interfaces.http.integrator.server_certificates import (
    ServerCertificatesShown,
    ServerCsr,
    csr_shown,
    told,
)

devices_option = click.option(
    "--for-devices", is_flag=True, help="Show it to devices too, which must know its CA by now."
)


@click.group("server-certificate")
def server_certificate() -> None:
    """Show and change the certificate of our own listeners; open connections go on."""


@server_certificate.command("show")
@json_option
def show(as_json: bool) -> None:
    """Show what is shown to clients and to devices, what waits, and what was shown before."""
    _take(None, as_json=as_json)


@server_certificate.command("csr")
@click.option("--replace", is_flag=True, help="Give up a request that is open.")
@json_option
def csr(replace: bool, as_json: bool) -> None:
    """Print a request (PKCS#10) for your CA to sign; the key stays with the platform."""

    async def command(platform: Platform) -> ServerCsr:
        certificates = platform.services.server_certificates
        made, _ = await certificates.make_csr(caller(PLATFORM), replace=replace)
        return csr_shown(made)

    made = with_platform(command)
    if as_json:
        line(msgspec.to_builtins(made))
    else:
        click.echo(made.csr, nl=False)


@server_certificate.command("install")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--activate", is_flag=True, help="Show it at once.")
@devices_option
@click.option("--force", is_flag=True, help="Leave behind devices that do not know its CA.")
@json_option
def install(file: Path, activate: bool, for_devices: bool, force: bool, as_json: bool) -> None:
    """Bring what your CA signed: FILE has the certificate first, then its issuers, in PEM."""
    try:
        pem = file.read_text("ascii")
    except UnicodeDecodeError as error:
        raise WrongArgument(f"{file} is not PEM") from error

    async def step(certificates: ServerCertificates, by: Caller) -> None:
        await certificates.install(by, pem)
        if activate:
            await certificates.activate(by, for_devices=for_devices, force=force)

    _take(step, as_json=as_json)


@server_certificate.command("activate")
@devices_option
@click.option("--force", is_flag=True, help="Leave behind devices that do not know its CA.")
@json_option
def activate_command(for_devices: bool, force: bool, as_json: bool) -> None:
    """Show the certificate that was brought, from the next handshake on."""
    _take(
        lambda found, by: found.activate(by, for_devices=for_devices, force=force),
        as_json=as_json,
    )


@server_certificate.command("rollback")
@json_option
def rollback(as_json: bool) -> None:
    """Show again what was shown before."""
    _take(lambda found, by: found.roll_back(by), as_json=as_json)


@server_certificate.command("renew")
@click.option("--everywhere", is_flag=True, help="Show it in place of what you brought, too.")
@json_option
def renew(everywhere: bool, as_json: bool) -> None:
    """Have our own CA issue one now, over a new key."""
    _take(lambda found, by: found.renew(by, everywhere=everywhere), as_json=as_json)


def _take(
    step: Callable[[ServerCertificates, Caller], Awaitable[object]] | None, *, as_json: bool
) -> None:
    async def command(platform: Platform) -> ServerCertificatesShown:
        if step is not None:
            await step(platform.services.server_certificates, caller(PLATFORM))
        await platform.serving.keeper.open()
        return await told(platform.services)

    values: dict[str, Any] = msgspec.to_builtins(with_platform(command))
    if as_json:
        line(values)
        return
    for place in ("public", "device", "installed", "former"):
        held = values.pop(place)
        if held is not None:
            held.pop("certificate")
            facts(
                {"listener" if place in ("public", "device") else "state": place, **held},
                as_json=False,
            )
    facts(values, as_json=False)
