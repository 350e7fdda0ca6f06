"""Builds a read model anew beside the live one, which keeps serving, and swaps it in at the end."""

import structlog

from infrastructure.database import Connection
from infrastructure.projections import positions, tables
from infrastructure.projections.batch import GapInLog, take_in
from infrastructure.projections.log_window import LogReader
from infrastructure.projections.positions import Standing, rebuild_name
from projections.read_model import ReadModel

log = structlog.stdlib.get_logger(__name__)


class RebuildRunning(Exception):
    """Another process is rebuilding this read model."""


async def rebuild(dsn: str, model: ReadModel, reader: LogReader, *, batch: int = 500) -> int:
    """Project the whole log into fresh tables and put them in the live ones' place.

    Answers with the position they stand at; it is not before the live one's. A halt of the live
    read model ends with the swap. Raises RebuildRunning, and whatever the reducer or the log
    raises: then the live tables stay as they were.
    """
    connection = await tables.connect(dsn, tables.NEXT)
    async with connection:
        if not await tables.try_rebuild_lock(connection, model.name):
            raise RebuildRunning(model.name)
        standing = await _begin(connection, model)
        while True:
            events = await reader.read(standing.position, batch)
            if events:
                standing = await take_in(connection, model, standing, events)
            if len(events) < batch:
                break
        position = await _swap(connection, model, reader, standing, batch)
        log.info("projection_rebuilt", projection=model.name, position=position)
        return position


async def _begin(connection: Connection, model: ReadModel) -> Standing:
    """Empty tables at position 0, whatever an earlier rebuild may have left."""
    name = rebuild_name(model.name)
    async with connection.transaction():
        await tables.drop(connection, tables.NEXT, model.tables)
        await positions.end(connection, name)
        await tables.create(connection, model)
        await positions.begin(connection, name, model.version, tables.ddl_sha256(model))
    standing = await positions.standing(connection, name)
    assert standing is not None, "its row was just written"
    return standing


async def _swap(
    connection: Connection, model: ReadModel, reader: LogReader, built: Standing, batch: int
) -> int:
    """Hold the live one still, come to where it is, and take its place, in one transaction."""
    async with connection.transaction():
        live = await positions.standing(connection, model.name, locked=True)
        assert live is not None, "the runner makes every read model before it rebuilds one"
        while built.position < live.position:
            events = await reader.read(built.position, batch)
            if not events:
                raise GapInLog(f"the log ends at {built.position}, {live.name} at {live.position}")
            built = await take_in(connection, model, built, events)
        await tables.swap(connection, model)
        await positions.replace(
            connection, model.name, model.version, tables.ddl_sha256(model), built.position
        )
        await positions.end(connection, built.name)
    return built.position
