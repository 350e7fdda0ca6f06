"""Rebuilds the read models from an export's leaves, and holds them against what was shown.

Two witnesses are heard: the digests that the platform committed into the log while it ran, and
the rows that it showed when the log was exported.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Final, Literal

import msgspec

from domain.events import Recorded
from domain.ids import PLATFORM, TenantId
from domain.projection import ProjectionDigested
from domain.transparency.leaf import LeafMalformed, LoggedEvent, recorded
from domain.transparency.leaf import read as read_leaf
from domain.transparency.tiles import TILE_WIDTH, BundleMalformed, Tile, read_bundle, width_at
from infrastructure.event_log.mapper import EventMapper, UnknownEvent
from infrastructure.log_export.directory import ExportDirectory
from infrastructure.log_export.shown_rows import check_rows, read_heads, rows_on_file
from infrastructure.projections.blame import description, is_the_events
from infrastructure.projections.comparison import Differing, first_difference
from infrastructure.projections.replay import Replay, replaying
from infrastructure.projections.table_rows import Table
from projections.read_model import ReadModel

BATCH: Final = 500
_DIGEST: Final = b'"name":"projection.digested"'

Source = Literal["log", "rows"]
"""Who said it: a digest in the log, or the rows in the export."""


class CannotReplay(Exception):
    """A leaf is missing or unreadable, or of an event that this version does not know."""


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """That a read model showed these rows at a position, and where that is said."""

    source: Source
    digest: ProjectionDigested


class Mismatch(msgspec.Struct, frozen=True, kw_only=True):
    """What was shown is not what the log comes to. `differing` is the first row that differs,
    where the rows are at hand."""

    source: Source
    read_model: str
    position: int
    table: str
    differing: Differing | None


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """`other_versions` are statements by versions of read models that this program has not."""

    events: int
    position: int
    compared: int
    other_versions: int
    mismatches: tuple[Mismatch, ...]

    @property
    def ok(self) -> bool:
        return not self.mismatches


async def replay(
    directory: ExportDirectory,
    size: int,
    dsn: str,
    models: Sequence[ReadModel],
    mapper: EventMapper,
    *,
    every_digest: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Replayed:
    """Take in the leaves below `size` and compare at every position that is spoken of.

    `dsn` is of a migrated database, in which nothing is left behind. Of the digests in the log
    each read model's last one is compared, or with `every_digest` each, which reads all rows
    each time. Raises CannotReplay, where there is nothing to compare too, RowsMalformed,
    psycopg.Error.
    """
    known = {model.name: model for model in models}
    statements, others = _comparable(
        _statements(directory, size, mapper, every_digest=every_digest), known
    )
    for statement in statements:
        if statement.source == "rows":
            check_rows(directory, statement.digest)
    due = sorted(statements, key=lambda statement: statement.digest.position)
    compared = len(due)
    position, tenant_id = 0, PLATFORM
    mismatches: list[Mismatch] = []
    async with replaying(dsn, models) as own:
        coming: list[Recorded] = []
        for done, event in enumerate(_events(directory, size, mapper)):
            passed = [each for each in due if each.digest.position < event.position]
            if passed or len(coming) == BATCH:
                await _take(own, coming)
                coming = []
                progress(done, size)
            for statement in passed:
                mismatches += await _compared(own, directory, event.tenant_id, statement, known)
            del due[: len(passed)]
            coming.append(event)
            position, tenant_id = event.position, event.tenant_id
        await _take(own, coming)
        while due and due[0].digest.position == position:
            mismatches += await _compared(own, directory, tenant_id, due.pop(0), known)
        progress(size, size)
    if not compared:
        raise CannotReplay("nothing is stated of rows of this version: there is nothing to compare")
    if due:
        raise CannotReplay(
            f"rows at position {due[0].digest.position} are spoken of, the log ends at {position}"
        )
    return Replayed(
        events=size,
        position=position,
        compared=compared,
        other_versions=others,
        mismatches=tuple(mismatches),
    )


async def _take(own: Replay, events: Sequence[Recorded]) -> None:
    """Raises CannotReplay for an event that a reducer does not take."""
    if not events:
        return
    try:
        await own.take(events)
    except Exception as error:
        if not is_the_events(error):
            raise
        between = f"between {events[0].position} and {events[-1].position}"
        raise CannotReplay(f"{between}: {description(error)}") from error


async def _compared(
    own: Replay,
    directory: ExportDirectory,
    tenant_id: TenantId,
    statement: Statement,
    known: Mapping[str, ReadModel],
) -> list[Mismatch]:
    """What of this statement the log does not come to, a table each."""
    stated = statement.digest
    found = {each.table: each for each in await own.digests(stated.read_model, tenant_id)}
    wrong = [each.table for each in stated.tables if found.get(each.table) != each]
    wrong += sorted(found.keys() - {each.table for each in stated.tables})
    mismatches: list[Mismatch] = []
    for table in await own.tables(stated.read_model):
        if table.name not in wrong:
            continue
        differing = None
        if statement.source == "rows":
            model = known[stated.read_model]
            differing = await _first_differing(own, directory, model, table, tenant_id)
        mismatches.append(
            Mismatch(
                source=statement.source,
                read_model=stated.read_model,
                position=stated.position,
                table=table.name,
                differing=differing,
            )
        )
    return mismatches


async def _first_differing(
    own: Replay, directory: ExportDirectory, model: ReadModel, table: Table, tenant_id: TenantId
) -> Differing | None:
    async with (
        own.connection.transaction(),
        aclosing(rows_on_file(directory, model.name, table)) as shown,
        aclosing(table.rows(own.connection, tenant_id)) as said,
    ):
        _, differing = await first_difference(model, table, shown, said)
    return differing


def _statements(
    directory: ExportDirectory, size: int, mapper: EventMapper, *, every_digest: bool
) -> list[Statement]:
    stated: list[Statement] = []
    last: dict[str, Statement] = {}
    for leaf in _leaves(directory, size):
        if _DIGEST not in leaf:
            continue
        event = _logged(leaf)
        digest = mapper.decode(event.name, event.payload)
        if not isinstance(digest, ProjectionDigested):
            continue
        statement = Statement(source="log", digest=digest)
        last[digest.read_model] = statement
        if every_digest:
            stated.append(statement)
    if not every_digest:
        stated.extend(last.values())
    stated.extend(Statement(source="rows", digest=head) for head in read_heads(directory))
    return stated


def _comparable(
    stated: Sequence[Statement], known: Mapping[str, ReadModel]
) -> tuple[list[Statement], int]:
    ours = [
        statement
        for statement in stated
        if statement.digest.read_model in known
        and known[statement.digest.read_model].version == statement.digest.version
    ]
    return ours, len(stated) - len(ours)


def _events(directory: ExportDirectory, size: int, mapper: EventMapper) -> Iterator[Recorded]:
    """Raises CannotReplay."""
    for leaf in _leaves(directory, size):
        event = _logged(leaf)
        try:
            yield recorded(event, mapper.decode(event.name, event.payload))
        except (UnknownEvent, msgspec.MsgspecError) as error:
            raise CannotReplay(f"the event at {event.position}: {error}") from error


def _logged(leaf: bytes) -> LoggedEvent:
    try:
        return read_leaf(leaf)
    except LeafMalformed as error:
        raise CannotReplay(f"not a leaf: {error}") from error


def _leaves(directory: ExportDirectory, size: int) -> Iterator[bytes]:
    for index in range(-(-size // TILE_WIDTH)):
        data = directory.tile(Tile(None, index, width_at(0, index, size)))
        try:
            leaves = [] if data is None else read_bundle(data)
        except BundleMalformed as error:
            raise CannotReplay(f"entry bundle {index}: {error}") from error
        if len(leaves) != width_at(0, index, size):
            raise CannotReplay(f"entry bundle {index} is not whole")
        yield from leaves
