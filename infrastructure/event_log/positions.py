"""Reads the whole log in the order of its positions, and stops at a gap rather than pass it."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from psycopg.rows import TupleRow

from domain.events import DomainEvent, Recorded
from domain.ids import TenantId
from infrastructure.event_log.mapper import EventMapper, UnknownEvent

READ: Final = (
    "SELECT position, tenant_id, stream_id, stream_version, name, payload, actor, "
    "correlation_id, command_id, recorded_at FROM events "
    "WHERE position > %b::int8 ORDER BY position LIMIT %b::int8"
)
READ_TENANT: Final = (
    "SELECT position, tenant_id, stream_id, stream_version, name, payload, actor, "
    "correlation_id, command_id, recorded_at FROM events "
    "WHERE tenant_id = (%b::uuid[])[1] AND position > %b::int8 AND position <= %b::int8 "
    "ORDER BY position LIMIT %b::int8"
)
LAST_POSITION: Final = (
    "SELECT coalesce((SELECT position FROM events ORDER BY position DESC LIMIT 1), 0)"
)


class LogGap(Exception):
    """A position is missing: the log is damaged, or is not read as link_projector."""


class Page:
    """Consecutive events; `held` says why the one after them could not be read, if so."""

    __slots__ = ("events", "held", "last")

    def __init__(
        self, events: Sequence[Recorded], last: int, held: UnknownEvent | None = None
    ) -> None:
        self.events = events
        self.last = last
        self.held = held


def page(mapper: EventMapper, rows: Sequence[TupleRow], after: int) -> Page:
    """The rows of `READ` as events. Raises LogGap, and msgspec.DecodeError for alien bytes.

    The events of a page that are of one tenant, or of one stream, share its id: two ids that are
    the same object need not be compared, which UUIDs do in Python and followers do a lot.
    """
    events: list[Recorded] = []
    tenants: dict[int, TenantId] = {}
    streams: dict[int, UUID] = {}
    last = after
    for row in rows:
        if row[0] != last + 1:
            raise LogGap(f"position {last + 1} is missing: {row[0]} follows {last}")
        try:
            event = mapper.decode(row[4], row[5])
        except UnknownEvent as unknown:
            return Page(events, last, unknown)
        last = row[0]
        tenant_id, stream_id = row[1], row[2]
        tenant_id = tenants.setdefault(tenant_id.int, tenant_id)
        stream_id = streams.setdefault(stream_id.int, stream_id)
        events.append(_recorded(row, tenant_id, stream_id, event))
    return Page(events, last)


def tenant_page(mapper: EventMapper, rows: Sequence[TupleRow]) -> Sequence[Recorded]:
    """The rows of `READ_TENANT` as events; whether one is missing only the whole log can tell.

    Raises UnknownEvent, msgspec.DecodeError.
    """
    return [_recorded(row, row[1], row[2], mapper.decode(row[4], row[5])) for row in rows]


def _recorded(row: TupleRow, tenant_id: TenantId, stream_id: UUID, event: DomainEvent) -> Recorded:
    return Recorded(
        position=row[0],
        tenant_id=tenant_id,
        stream_id=stream_id,
        version=row[3],
        event=event,
        actor=row[6],
        correlation_id=row[7],
        command_id=row[8],
        recorded_at=row[9],
    )
