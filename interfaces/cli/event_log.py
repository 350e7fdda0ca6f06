"""`link-identity log`: read the event log, and check that nobody changed it.

What an auditor does with a copy of it stands in `auditing`.
"""

import asyncio
import sys
from typing import Any

import msgspec
import rich_click as click

from domain.events import Recorded
from domain.ids import PLATFORM, wire
from infrastructure.event_log.blocks import BadBlock, verify_blocks
from interfaces.cli.auditing import check_certificate, export_log, prove_event, verify_log
from interfaces.cli.output import facts, json_option, line
from interfaces.cli.replaying import replay_log
from interfaces.cli.session import tenant_of, with_platform
from interfaces.composition import Platform


@click.group()
def log() -> None:
    """Look at the event log, take a copy of it, and prove what is in it."""


for audited in (export_log, verify_log, replay_log, prove_event, check_certificate):
    log.add_command(audited)


@log.command("tail")
@click.option("--tenant", help="Only this tenant's events.")
@click.option("--after", default=0, show_default=True, help="Begin after this position.")
@click.option("--follow/--no-follow", default=False, help="Wait for more.")
def tail(tenant: str | None, after: int, follow: bool) -> None:
    """Print events in the order of the log, one JSON object a line."""
    wanted = None if tenant is None else tenant_of(tenant)

    async def command(platform: Platform) -> None:
        position = after
        while True:
            events = await platform.log.read(position, 500)
            for recorded in events:
                position = recorded.position
                if wanted is None or recorded.tenant_id == wanted:
                    line(_event(recorded))
            if not events:
                if not follow:
                    return
                await asyncio.sleep(0.2)

    with_platform(command)


@log.command("check")
@json_option
def check_log(as_json: bool) -> None:
    """Verify the chain of blocks over the whole log; exit 1 names the first bad block."""

    async def command(platform: Platform) -> dict[str, Any]:
        async with platform.projector_pool.connection() as connection:
            return {"ok": True, "blocks": await verify_blocks(connection)}

    try:
        facts(with_platform(command), as_json=as_json)
    except BadBlock as error:
        facts({"ok": False, "reason": str(error)}, as_json=as_json)
        sys.exit(1)


def _event(recorded: Recorded) -> dict[str, Any]:
    tenant_id = recorded.tenant_id
    return {
        "position": recorded.position,
        "recorded_at": recorded.recorded_at.isoformat(),
        "tenant": "platform" if tenant_id == PLATFORM else wire("ten", tenant_id),
        "stream": str(recorded.stream_id),
        "version": recorded.version,
        "name": recorded.event.NAME,
        "actor": recorded.actor,
        "correlation_id": str(recorded.correlation_id),
        "data": msgspec.to_builtins(recorded.event),
    }
