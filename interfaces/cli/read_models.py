"""`link-identity projections`: where the read models stand, and what mends one."""

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import rich_click as click

from domain.ids import PLATFORM, wire
from domain.projection import ProjectionDigested
from infrastructure.projections.blame import RebuildRunning
from infrastructure.projections.comparison import CannotCompare, Comparison
from infrastructure.projections.halts import TenantHalt
from infrastructure.projections.live_rows import OtherVersion
from infrastructure.projections.positions import Halt
from infrastructure.projections.rebuild import RebuildHalted
from infrastructure.projections.status import ProjectionStatus
from interfaces.cli.output import facts, json_option, line
from interfaces.cli.session import WrongArgument, tenant_of, with_platform
from interfaces.composition import Platform
from projections.catalogue import READ_MODELS
from projections.read_model import ReadModel

read_model_name = click.argument("name", type=click.Choice([model.name for model in READ_MODELS]))


read_model_names = click.argument(
    "names", nargs=-1, type=click.Choice([model.name for model in READ_MODELS])
)


@click.group()
def projections() -> None:
    """See how far the read models are, let a halted one go on, build one anew."""


@projections.command("status")
@json_option
def projection_status(as_json: bool) -> None:
    """List every read model with its position, its lag, and for whom it stands still."""

    async def command(platform: Platform) -> Sequence[ProjectionStatus]:
        return await platform.runner.status()

    for status in with_platform(command):
        line(_shown(status)) if as_json else _tell(status)


@projections.command("resume")
@read_model_name
@click.option("--tenant", help="Only this tenant's rows.")
@json_option
def resume_projection(name: str, tenant: str | None, as_json: bool) -> None:
    """Let the halted read model NAME try the event again that it halted at.

    A worker does so, beside the events of everybody else; `status` says what came of it.
    """
    wanted = None if tenant is None else tenant_of(tenant)
    resumed = with_platform(lambda platform: platform.runner.resume(name, wanted))
    tenants = [_tenant(tenant_id) for tenant_id in resumed.tenants]
    told = {"name": name, "resumed": bool(resumed), "everybody": resumed.everybody}
    shown = tenants if as_json else ", ".join(tenants) or "none"
    facts({**told, "tenants": shown}, as_json=as_json)


@projections.command("rebuild")
@read_model_name
@json_option
def rebuild_projection(name: str, as_json: bool) -> None:
    """Build the read model NAME from the log beside the live one, then swap.

    Readers and writers go on meanwhile. A rebuild that was killed is begun anew.
    """
    try:
        position = with_platform(lambda platform: platform.runner.rebuild(name))
    except (RebuildRunning, RebuildHalted) as error:
        raise WrongArgument(f"{name} is not rebuilt: {error}") from error
    facts({"name": name, "position": position}, as_json=as_json)


@projections.command("digest")
@read_model_names
@click.option("--tenant", required=True, help="Whose rows.")
@json_option
def digest_projection(names: tuple[str, ...], tenant: str, as_json: bool) -> None:
    """State in the tenant's log what the read models show of it now: all, or those NAMED.

    A worker does so by itself every LINK_DIGEST_INTERVAL_S. Nothing is stated where the rows are
    those of the digest before, or while a read model stands still for the tenant.
    """
    tenant_id = tenant_of(tenant)

    async def command(platform: Platform) -> Sequence[ProjectionDigested | None]:
        return [
            await platform.digests.state(model, tenant_id, compared=False)
            for model in _models(names)
        ]

    for found in with_platform(command):
        if found is not None:
            for table in found.tables:
                told = {"read_model": found.read_model, "version": found.version}
                told |= {"position": found.position, **msgspec.to_builtins(table)}
                line(told) if as_json else _print(told)


@projections.command("check")
@read_model_names
@click.option("--tenant", help="Only this tenant's rows.")
@json_option
def check_projections(names: tuple[str, ...], tenant: str | None, as_json: bool) -> None:
    """Replay the log and compare: are the rows what it says? All read models, or those NAMED.

    Exit code 1 names the first row of each that is not: table, key, and the position of the event
    that made it what it should be. Everything goes on meanwhile.
    """
    wanted = None if tenant is None else tenant_of(tenant)

    async def command(platform: Platform) -> Sequence[Comparison]:
        return [await platform.runner.compare(model.name, wanted) for model in _models(names)]

    try:
        compared = with_platform(command)
    except (CannotCompare, OtherVersion) as error:
        raise WrongArgument(f"nothing to compare: {error}") from error
    for found in compared:
        told = _compared(found)
        line(told) if as_json else _print(told)
    if any(found.differing is not None for found in compared):
        sys.exit(1)


def _models(names: tuple[str, ...]) -> Sequence[ReadModel]:
    return [model for model in READ_MODELS if not names or model.name in names]


def _compared(found: Comparison) -> dict[str, Any]:
    differing = found.differing
    told: dict[str, Any] = {"ok": differing is None, "read_model": found.read_model}
    told |= {"version": found.version, "position": found.position, "rows": found.rows}
    told["halted_tenants"] = [_tenant(tenant_id) for tenant_id in found.halted]
    if differing is not None:
        told["differs"] = {
            "difference": differing.difference,
            "table": differing.table,
            "key": msgspec.json.decode(differing.key),
            "tenant": _tenant(differing.tenant_id),
            "position": differing.row_position,
        }
    return told


def _print(told: dict[str, Any]) -> None:
    facts(told, as_json=False)
    sys.stdout.write("\n")


def _shown(status: ProjectionStatus) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(status)
    for halt in shown["tenants_halted"]:
        halt["tenant"] = _tenant(UUID(halt.pop("tenant_id")))
        del halt["name"]
    return shown


def _tell(status: ProjectionStatus) -> None:
    lag = f"{status.lag} positions, {status.lag_s} s"
    told: dict[str, Any] = {"name": status.name, "version": status.version}
    told |= {"position": status.position, "lag": lag}
    if status.halt is not None:
        told["halted for all"] = _why(status.halt, status.halted_at)
    for halt in status.tenants_halted:
        again = ", trying again" if halt.resuming else ""
        told[f"halted for {_tenant(halt.tenant_id)}"] = _why(halt, halt.halted_at) + again
    _print(told)


def _why(halt: Halt | TenantHalt, since: datetime | None) -> str:
    at = "" if since is None else f" since {since.isoformat(timespec='seconds')}"
    return f"at {halt.position}, {halt.event or 'no event'}: {halt.error}{at}"


def _tenant(tenant_id: UUID) -> str:
    return "platform" if tenant_id == PLATFORM else wire("ten", tenant_id)
