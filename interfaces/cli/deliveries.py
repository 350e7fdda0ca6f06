"""`link-identity deliveries`: what other systems are still to be told, and once more, please."""

import sys
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
import rich_click as click

from application.ports import Replayed
from domain.errors import Malformed
from domain.ids import parse, wire
from infrastructure.delivery.progress import TenantWait
from infrastructure.delivery.standing import Standing, all_waits, replay, standings
from interfaces.cli.output import facts, json_option, line
from interfaces.cli.session import WrongArgument, with_platform
from interfaces.composition import Platform
from interfaces.http.times import when


@click.group()
def deliveries() -> None:
    """See what other systems are still to be told, and have it tried again."""


@deliveries.command("status")
@json_option
def delivery_status(as_json: bool) -> None:
    """List every kind with its position, what is pending and dead, and why it stands still, for
    all tenants or for the ones named.

    `oldest_s` is the age of the oldest pending delivery in seconds.
    """

    async def command(platform: Platform) -> tuple[Sequence[Standing], Sequence[TenantWait]]:
        pool = platform.projector_pool
        return await standings(pool), await all_waits(pool)

    kinds, waits = with_platform(command)
    for found in kinds:
        waiting = [each for each in waits if each.kind == found.kind]
        if as_json:
            line({**msgspec.to_builtins(found), "waits": [_told(each) for each in waiting]})
        else:
            _tell(found, waiting)


@deliveries.command("replay")
@click.argument("kind")
@click.option("--failed-only", is_flag=True, help="Only what is dead.")
@click.option("--event", help="Only what this event owes (evt_...).")
@click.option("--since", help="Only events recorded at or after this time (RFC 3339).")
@click.option("--until", help="Only events recorded before this time (RFC 3339).")
@json_option
def replay_deliveries(
    kind: str,
    failed_only: bool,
    event: str | None,
    since: str | None,
    until: str | None,
    as_json: bool,
) -> None:
    """Have deliveries of KIND that are over tried again, for every tenant.

    What fits all options given, at least one of them; at most 10,000 at once, the oldest first.
    Receivers know a repeat by its id.
    """
    if not (failed_only or event or since or until):
        raise click.UsageError("say which: --failed-only, --event, --since or --until")
    which = _which(failed_only, event, since, until)

    async def command(platform: Platform) -> int:
        kinds = [each.kind for each in await standings(platform.projector_pool)]
        if kind not in kinds:
            known = ", ".join(kinds) or "none"
            raise WrongArgument(f"nothing was ever delivered of a kind {kind!r}; kinds: {known}")
        return await replay(platform.projector_pool, kind, which)

    facts({"kind": kind, "replayed": with_platform(command)}, as_json=as_json)


def _which(failed_only: bool, event: str | None, since: str | None, until: str | None) -> Replayed:
    try:
        first, end = when(since), when(until)
    except Malformed as error:
        raise WrongArgument("a time is RFC 3339 with its offset: 2026-03-01T00:00:00Z") from error
    return Replayed(
        event_id=None if event is None else _event(event),
        since=first,
        until=end,
        failed_only=failed_only,
    )


def _event(text: str) -> UUID:
    found = parse("evt", text)
    if found is None:
        raise WrongArgument(f"{text!r} is not an event id (evt_...)")
    return found


def _told(wait: TenantWait) -> dict[str, Any]:
    told = {"tenant": wire("ten", wait.tenant_id), "position": wait.position, "event": wait.event}
    return told | {"error": wait.error, "since": msgspec.to_builtins(wait.waiting_since)}


def _tell(found: Standing, waiting: Sequence[TenantWait]) -> None:
    told: dict[str, Any] = {"kind": found.kind, "position": found.position}
    told |= {"pending": found.pending, "dead": found.dead}
    if found.oldest_s is not None:
        told["oldest"] = f"{found.oldest_s:.0f} s"
    if found.halted_at is not None:
        since = found.halted_at.isoformat(timespec="seconds")
        told["halted"] = f"at {found.halted_at_position}: {found.halted_error} since {since}"
    for each in waiting:
        since = "" if each.waiting_since is None else each.waiting_since.isoformat(" ", "seconds")
        tenant = wire("ten", each.tenant_id)
        told[f"waits {tenant}"] = f"at {each.position}: {each.error} since {since}"
    facts(told, as_json=False)
    sys.stdout.write("\n")
