"""Isolates a poison event to its tenant, and takes in what the tenant missed when it is cured."""

from collections.abc import Sequence
from typing import Final

import structlog

from domain.events import Recorded
from infrastructure.database import Connection
from infrastructure.projections import halts
from infrastructure.projections.batch import (
    TakeIn,
    halt_tenant,
    heard,
    hold,
    take_in,
)
from infrastructure.projections.blame import description, is_the_events
from infrastructure.projections.halts import TenantHalt
from infrastructure.projections.log_window import LogReader
from infrastructure.projections.positions import Standing
from projections.read_model import ReadModel

log: Final = structlog.stdlib.get_logger(__name__)


async def take_in_or_halt(
    connection: Connection,
    model: ReadModel,
    before: Standing,
    events: Sequence[Recorded],
    take: TakeIn = take_in,
) -> Standing:
    """The standing after these events, with the tenants of those that cannot be taken in halted.

    A batch fails as a whole; taken one by one, its events show which of them it was. Raises what
    is no event's fault (`blame.is_the_events`); what was taken in before that is committed.
    """
    try:
        return await take(connection, model, before, events)
    except Exception as error:
        if len(events) > 1:
            pass
        elif is_the_events(error):
            return await _halted(connection, before, events[0], error)
        else:
            raise
    for recorded in events:
        try:
            before = await take(connection, model, before, [recorded])
        except Exception as error:
            if not is_the_events(error):
                raise
            before = await _halted(connection, before, recorded, error)
    return before


async def _halted(
    connection: Connection, before: Standing, recorded: Recorded, error: Exception
) -> Standing:
    why = description(error)
    standing = await halt_tenant(connection, before, recorded, why)
    _tell(before.name, recorded, why)
    return standing


async def resume_some(
    connection: Connection, model: ReadModel, standing: Standing, reader: LogReader, *, batch: int
) -> bool:
    """Take in some of what resuming tenants missed; whether there is more.

    The read model stays where it is: what a tenant missed lies before that. Raises Overtaken and
    what is no event's fault.
    """
    resuming = [each for each in await halts.halts_of(connection, model.name) if each.resuming]
    for halt in resuming:
        await _resume(connection, model, standing, reader, halt, batch)
    # Those that are through, or were halted anew, do not come back.
    return any(each.resuming for each in await halts.halts_of(connection, model.name))


async def _resume(
    connection: Connection,
    model: ReadModel,
    standing: Standing,
    reader: LogReader,
    halt: TenantHalt,
    batch: int,
) -> None:
    missed = await reader.read_tenant(halt.tenant_id, halt.position - 1, standing.position, batch)
    last = len(missed) < batch
    try:
        await _take_missed(connection, model, standing, halt, missed, last=last)
    except Exception as error:
        if not is_the_events(error):
            raise
    else:
        return
    for recorded in missed:
        try:
            await _take_missed(connection, model, standing, halt, [recorded], last=False)
        except Exception as error:
            if not is_the_events(error):
                raise
            why = description(error)
            async with connection.transaction():
                await hold(connection, standing)
                await halts.begin(connection, model.name, recorded, why)
            _tell(model.name, recorded, why)
            return


async def _take_missed(
    connection: Connection,
    model: ReadModel,
    standing: Standing,
    halt: TenantHalt,
    events: Sequence[Recorded],
    *,
    last: bool,
) -> None:
    async with connection.transaction():
        await hold(connection, standing)
        relevant = heard(model, events)
        if relevant:
            await model.project(connection, relevant)
        if last:
            await halts.end(connection, model.name, halt.tenant_id)
        else:
            await halts.move(connection, model.name, halt.tenant_id, events[-1].position + 1)
    if last:
        log.info(
            "projection_resumed", projection=model.name, tenant=halt.tenant_id.hex,
            position=standing.position,
        )  # fmt: skip


def _tell(name: str, recorded: Recorded, why: str) -> None:
    log.error(
        "projection_halted",
        projection=name,
        tenant=recorded.tenant_id.hex,
        position=recorded.position,
        event_name=recorded.event.NAME,
        error=why,
    )
