"""Whether a read model shows what the log says, and if not, which row is the first that differs."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Final

import msgspec
import structlog

from domain.events import Recorded
from domain.ids import TenantId
from domain.projection import Difference
from infrastructure.projections import halts, positions, tables
from infrastructure.projections.blame import description, is_the_events
from infrastructure.projections.live_rows import LiveRows, OtherVersion, live_rows
from infrastructure.projections.log_window import LogReader
from infrastructure.projections.replay import Replay, replaying
from infrastructure.projections.table_rows import Table
from projections.read_model import ReadModel
from projections.row_digest import CanonicalRow, key_text

TRIES: Final = 5

log = structlog.stdlib.get_logger(__name__)


class CannotCompare(Exception):
    """Halts came or went at every try, or an event that is in the rows cannot be replayed."""


class Differing(msgspec.Struct, frozen=True, kw_only=True):
    """The first row of a table, in the order of its key, that is not the log's.

    `row_position` is the event that made the row what it should be; None where no event made it,
    or where the table does not say.
    """

    read_model: str
    table: str
    tenant_id: TenantId
    key: str
    difference: Difference
    row_position: int | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One read model against the log up to `position`. `rows` were compared and are equal, up to
    the first that differs. Tenants in `halted` were compared up to their halts."""

    read_model: str
    version: int
    position: int
    rows: int
    halted: Sequence[TenantId]
    differing: Differing | None


async def compare(
    dsn: str,
    model: ReadModel,
    reader: LogReader,
    *,
    tenant_id: TenantId | None = None,
    batch: int = 500,
) -> Comparison:
    """Replay the log beside the live rows and compare them, of one tenant or of all.

    The read model goes on meanwhile: only the last of the replay and the comparison itself are
    made under a snapshot. Raises OtherVersion, CannotCompare, and what the log raises.
    """
    for _ in range(TRIES):
        found = await _compared(dsn, model, reader, tenant_id, batch)
        if found is not None:
            return found
    raise CannotCompare(f"{model.name}: tenants were halted or resumed at every try")


async def _compared(
    dsn: str, model: ReadModel, reader: LogReader, tenant_id: TenantId | None, batch: int
) -> Comparison | None:
    """None when a tenant was halted or resumed meanwhile: then there is something else to read."""
    async with await tables.connect(dsn, tables.LIVE) as connection, replaying(dsn, [model]) as own:
        before = {
            halt.tenant_id: halt.position for halt in await halts.halts_of(connection, model.name)
        }
        history = _History(own, model, reader, tenant_id, before, batch)
        while True:
            standing = await positions.standing(connection, model.name)
            if standing is None or standing.version != model.version:
                raise OtherVersion(f"the tables of {model.name} are not of version {model.version}")
            if standing.position - history.position < batch:
                break
            await history.up_to(standing.position)
        async with live_rows(connection, model) as live:
            if live.missing_from != before:
                return None
            await history.up_to(live.position)
            return await _side_by_side(own, live, model, tenant_id)


class _History:
    """The log on its way into a replay."""

    def __init__(
        self,
        replay: Replay,
        model: ReadModel,
        reader: LogReader,
        tenant_id: TenantId | None,
        missing_from: Mapping[TenantId, int],
        batch: int,
    ) -> None:
        self.position = 0
        self._replay = replay
        self._model = model
        self._reader = reader
        self._tenant_id = tenant_id
        self._missing_from = missing_from
        self._batch = batch

    async def up_to(self, position: int) -> None:
        """Raises CannotCompare for an event that the reducer does not take."""
        while self.position < position:
            events = await self._read(position)
            shown = [
                each
                for each in events
                if each.position < self._missing_from.get(each.tenant_id, each.position + 1)
            ]
            if shown:
                await self._take(shown)
            self.position = events[-1].position if events else position

    async def _read(self, up_to: int) -> Sequence[Recorded]:
        if self._tenant_id is not None:
            after = self.position
            return await self._reader.read_tenant(self._tenant_id, after, up_to, self._batch)
        limit = min(self._batch, up_to - self.position)
        return await self._reader.read(self.position, limit)

    async def _take(self, events: Sequence[Recorded]) -> None:
        try:
            await self._replay.take(events)
        except Exception as error:
            if not is_the_events(error):
                raise
            first, last = events[0].position, events[-1].position
            raise CannotCompare(
                f"{self._model.name}: between {first} and {last}, {description(error)}"
            ) from error


async def _side_by_side(
    own: Replay, live: LiveRows, model: ReadModel, tenant_id: TenantId | None
) -> Comparison:
    rows = 0
    differing: Differing | None = None
    async with own.connection.transaction():
        for shown, said in zip(live.tables, await own.tables(model.name), strict=True):
            async with (
                aclosing(shown.rows(live.connection, tenant_id)) as ours,
                aclosing(said.rows(own.connection, tenant_id)) as logs,
            ):
                equal, differing = await first_difference(model, shown, ours, logs)
            rows += equal
            if differing is not None:
                break
    return Comparison(
        read_model=model.name,
        version=model.version,
        position=live.position,
        rows=rows,
        halted=sorted(each for each in live.missing_from if tenant_id is None or each == tenant_id),
        differing=differing,
    )


async def first_difference(
    model: ReadModel,
    table: Table,
    shown: AsyncIterator[CanonicalRow],
    said: AsyncIterator[CanonicalRow],
) -> tuple[int, Differing | None]:
    """How many rows are equal before the first that is not. Both come in the order of the key."""
    equal = 0
    while True:
        ours, logs = await anext(shown, None), await anext(said, None)
        if ours is None and logs is None:
            return equal, None
        if ours is not None and logs is not None and ours.line == logs.line:
            equal += 1
            continue
        kind: Difference
        if logs is None or (ours is not None and ours.key < logs.key):
            kind, row = "added", ours
        elif ours is None or logs.key < ours.key:
            kind, row = "missing", logs
        else:
            kind, row = "altered", logs
        assert row is not None, "one of the two is there, or they would both have ended"
        return equal, Differing(
            read_model=model.name,
            table=table.name,
            tenant_id=msgspec.convert(row.columns["tenant_id"], TenantId),
            key=key_text(row, table.key),
            difference=kind,
            row_position=None if kind == "added" else row.position,
        )
