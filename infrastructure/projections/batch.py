"""Takes a batch of events into a read model: its rows and its position in one transaction."""

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from domain.events import Recorded
from infrastructure.database import Connection
from infrastructure.projections import positions
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
    rebuild's swap takes the same locks in the same order. Raises GapInLog, Overtaken, and
    whatever `model.project` raises; then nothing has changed.
    """
    check_contiguous(before.position, events)
    position = events[-1].position
    relevant = [recorded for recorded in events if isinstance(recorded.event, model.listens_to)]
    if not relevant:
        await _advance(connection, before, position)
    else:
        async with connection.transaction():
            await _advance(connection, before, position)
            await model.project(connection, relevant)
    return msgspec.structs.replace(before, position=position, halt=None, halted_at=None)


def check_contiguous(after: int, events: Sequence[Recorded]) -> None:
    """Raises GapInLog: positions are gap-free, so a missing one is an event not seen."""
    for expected, recorded in enumerate(events, start=after + 1):
        if recorded.position != expected:
            raise GapInLog(f"position {expected} is missing: {recorded.position} came instead")


async def _advance(connection: Connection, before: Standing, position: int) -> None:
    if not await positions.advance(connection, before, position):
        raise Overtaken(before.name)
