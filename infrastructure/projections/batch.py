"""Takes a batch of events into a read model: its rows and its position in one transaction."""

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from domain.events import Recorded
from infrastructure.database import Connection
from infrastructure.projections import halts, positions
from infrastructure.projections.positions import Standing
from projections.read_model import ReadModel


class Overtaken(Exception):
    """Somebody else moved this read model: a rebuild that was swapped in, or a newer version."""


class GapInLog(Exception):
    """The next event does not stand at the next position."""


TakeIn = Callable[[Connection, ReadModel, Standing, Sequence[Recorded]], Awaitable[Standing]]


async def take_in(
    connection: Connection, model: ReadModel, before: Standing, events: Sequence[Recorded]
) -> Standing:
    """The standing after these events, committed together with their rows.

    The position moves first: its row is the lock under which the tables are written, and a
    rebuild's swap takes the same locks in the same order. Events of halted tenants are passed
    over; they are taken in when the halt is resumed. Raises GapInLog, Overtaken, and whatever
    `model.project` raises; then nothing has changed.
    """
    check_contiguous(before.position, events)
    position = events[-1].position
    relevant = heard(model, events)
    if not relevant:
        return _moved(before, position, await _advance(connection, before, position))
    async with connection.transaction():
        tenants_halted = await _advance(connection, before, position)
        if tenants_halted:
            stopped = {halt.tenant_id for halt in await halts.halts_of(connection, before.name)}
            relevant = [recorded for recorded in relevant if recorded.tenant_id not in stopped]
        if relevant:
            await model.project(connection, relevant)
    return _moved(before, position, tenants_halted)


async def halt_tenant(
    connection: Connection, before: Standing, recorded: Recorded, error: str
) -> Standing:
    """The standing past an event that could not be taken in: its tenant is halted there.

    Raises Overtaken; then nothing has changed.
    """
    async with connection.transaction():
        tenants_halted = await _advance(connection, before, recorded.position)
        await halts.begin(connection, before.name, recorded, error)
    return _moved(before, recorded.position, tenants_halted + 1)


async def hold(connection: Connection, standing: Standing) -> None:
    """Keep the read model where it is until the transaction ends. Raises Overtaken."""
    now = await positions.standing(connection, standing.name, locked=True)
    if now is None or (now.version, now.position) != (standing.version, standing.position):
        raise Overtaken(standing.name)


def heard(model: ReadModel, events: Sequence[Recorded]) -> list[Recorded]:
    """Those of the events that the read model listens to."""
    listening = frozenset(model.listens_to)
    return [recorded for recorded in events if type(recorded.event) in listening]


def check_contiguous(after: int, events: Sequence[Recorded]) -> None:
    """Raises GapInLog: positions are gap-free, so a missing one is an event not seen."""
    for expected, recorded in enumerate(events, start=after + 1):
        if recorded.position != expected:
            raise GapInLog(f"position {expected} is missing: {recorded.position} came instead")


async def _advance(connection: Connection, before: Standing, position: int) -> int:
    tenants_halted = await positions.advance(connection, before, position)
    if tenants_halted is None:
        raise Overtaken(before.name)
    return tenants_halted


def _moved(before: Standing, position: int, tenants_halted: int) -> Standing:
    return msgspec.structs.replace(
        before, position=position, tenants_halted=tenants_halted, halt=None, halted_at=None
    )
