"""Projection: what one read model showed of one tenant, stated in the tenant's own log.

A digest is a function of the log up to its position: whoever replays the log to there must come
to the same rows, and where that is not so, somebody changed rows without an event. Digests are
bookkeeping; they are stated only when the rows are others than those stated before, so that
stating one is never the reason for the next.
"""

from collections.abc import Iterable
from typing import ClassVar, Literal

import msgspec

from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import ProjectionId, TenantId

Difference = Literal["altered", "missing", "added"]
"""A row other than the log's, a row of the log's that is not there, a row that no event made."""


class TableDigest(msgspec.Struct, frozen=True, kw_only=True):
    """The tenant's rows of one table: how many, and the SHA-256 (hexadecimal) of their canonical
    lines in the order of their primary key (`projections/row_digest.py`)."""

    table: str
    rows: int
    sha256: str


class ProjectionDigested(DomainEvent, frozen=True, kw_only=True):
    """The read model, in this version of its code, shows these rows of the tenant at `position`."""

    NAME: ClassVar[str] = "projection.digested"
    read_model: str
    version: int
    position: int
    tables: tuple[TableDigest, ...]


class ProjectionDiverged(DomainEvent, frozen=True, kw_only=True):
    """At `position` the rows are not what the log says: this is the first that differs.

    `key` is the row's primary key as a JSON object, `row_position` the event that made the row
    what it should be, or null where no event made it.
    """

    NAME: ClassVar[str] = "projection.diverged"
    read_model: str
    version: int
    position: int
    table: str
    key: str
    difference: Difference
    row_position: int | None


ProjectionEvent = ProjectionDigested | ProjectionDiverged


class Projection(msgspec.Struct, frozen=True, kw_only=True):
    id: ProjectionId
    tenant_id: TenantId
    version: int
    digested: ProjectionDigested | None
    diverged: ProjectionDiverged | None


def state(
    projection: Projection | None,
    found: ProjectionDigested,
    differs: ProjectionDiverged | None = None,
) -> list[ProjectionEvent]:
    """State the rows that were found, and that they differ from the log's; once for the same."""
    events: list[ProjectionEvent] = []
    before = projection.digested if projection is not None else None
    if before is None or _rows(before) != _rows(found):
        if before is not None and found.position <= before.position:
            return []
        events.append(found)
    if differs is not None:
        known = projection.diverged if projection is not None else None
        if known is None or _row(known) != _row(differs):
            events.append(differs)
    return events


def _rows(stated: ProjectionDigested) -> object:
    return stated.version, stated.tables


def _row(stated: ProjectionDiverged) -> object:
    return stated.version, stated.table, stated.key, stated.difference


def evolve(projection: Projection | None, recorded: Recorded) -> Projection:
    digested = projection.digested if projection is not None else None
    diverged = projection.diverged if projection is not None else None
    match recorded.event:
        case ProjectionDigested() as event:
            # Other rows than before, so what differs in them is said anew.
            digested, diverged = event, None
        case ProjectionDiverged() as event:
            diverged = event
        case other:
            raise UnexpectedEvent(other)
    return Projection(
        id=ProjectionId(recorded.stream_id),
        tenant_id=recorded.tenant_id,
        version=recorded.version,
        digested=digested,
        diverged=diverged,
    )


def rebuild(past: Iterable[Recorded]) -> Projection | None:
    return fold(evolve, past)
