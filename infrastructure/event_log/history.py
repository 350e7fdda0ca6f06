"""The past of one tenant, read from the log itself and behind row-level security."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, LiteralString

from application.ports import Beginning, LogPage
from domain.device import DeviceRegistered
from domain.events import DomainEvent, Recorded
from domain.ids import TenantId
from domain.linked_service import LinkedServiceRegistered
from domain.transaction import TransactionReceived
from domain.user import UserSignedUp
from infrastructure.database import Pool, tenant_scope
from infrastructure.event_log.mapper import EventMapper, UnknownEvent
from infrastructure.event_log.positions import tenant_page

_EVENTS: Final[LiteralString] = """
    SELECT position, tenant_id, stream_id, stream_version, name, payload, actor, correlation_id,
           command_id, recorded_at
    FROM events
    WHERE tenant_id = %(tenant_id)s AND position > %(after)s AND position <= %(up_to)s
    ORDER BY position LIMIT %(limit)s
"""
# The name stands in the text and not in a parameter, so that every plan may use the index.
_USERS: Final[LiteralString] = """
    SELECT position, stream_id FROM events
    WHERE stream_version = 1 AND name = 'user.signed_up' AND tenant_id = %(tenant_id)s
      AND position > %(after)s AND position <= %(up_to)s
    ORDER BY position LIMIT %(limit)s
"""
_DEVICES: Final[LiteralString] = """
    SELECT position, stream_id FROM events
    WHERE stream_version = 1 AND name = 'device.registered' AND tenant_id = %(tenant_id)s
      AND position > %(after)s AND position <= %(up_to)s
    ORDER BY position LIMIT %(limit)s
"""
_LINKED_SERVICES: Final[LiteralString] = """
    SELECT position, stream_id FROM events
    WHERE stream_version = 1 AND name = 'linked_service.registered' AND tenant_id = %(tenant_id)s
      AND position > %(after)s AND position <= %(up_to)s
    ORDER BY position LIMIT %(limit)s
"""
_TRANSACTIONS: Final[LiteralString] = """
    SELECT position, stream_id FROM events
    WHERE stream_version = 1 AND name = 'transaction.received' AND tenant_id = %(tenant_id)s
      AND position < %(before)s AND position <= %(up_to)s
    ORDER BY position DESC LIMIT %(limit)s
"""
_BEGUN: Final[Mapping[type[DomainEvent], LiteralString]] = {
    UserSignedUp: _USERS,
    DeviceRegistered: _DEVICES,
    LinkedServiceRegistered: _LINKED_SERVICES,
    TransactionReceived: _TRANSACTIONS,
}
_END_MAX: Final = 2**63 - 1


class PostgresLogHistory:
    """`LogHistory` over the pool of the role that sees one tenant at a time."""

    def __init__(self, pool: Pool, mapper: EventMapper) -> None:
        self._pool = pool
        self._mapper = mapper

    async def end(self) -> int:
        async with self._pool.connection() as connection:
            found = await (await connection.execute("SELECT log_end()")).fetchone()
        assert found is not None, "a function answers with one row"
        end: int = found[0]
        return end

    async def position_at(self, moment: datetime) -> int:
        async with self._pool.connection() as connection:
            cursor = await connection.execute("SELECT position_at(%s)", (moment,))
            found = await cursor.fetchone()
        assert found is not None, "a function answers with one row"
        position: int = found[0]
        return position

    async def begun(
        self,
        tenant_id: TenantId,
        begins_with: type[DomainEvent],
        *,
        after: int | None,
        up_to: int,
        limit: int,
    ) -> Sequence[Beginning]:
        parameters = {
            "tenant_id": tenant_id,
            "up_to": up_to,
            "limit": limit,
            "after": after or 0,
            "before": after or _END_MAX,
        }
        async with tenant_scope(self._pool, tenant_id) as connection:
            rows = await (await connection.execute(_BEGUN[begins_with], parameters)).fetchall()
        return [Beginning(position=position, stream_id=stream_id) for position, stream_id in rows]

    async def events(self, tenant_id: TenantId, *, after: int, up_to: int, limit: int) -> LogPage:
        parameters = {"tenant_id": tenant_id, "after": after, "up_to": up_to, "limit": limit}
        async with tenant_scope(self._pool, tenant_id) as connection:
            rows = await (await connection.execute(_EVENTS, parameters)).fetchall()
        events: list[Recorded] = []
        for row in rows:
            try:
                events += tenant_page(self._mapper, [row])
            except UnknownEvent:
                if not events:
                    raise
                return LogPage(events=events, read_to=events[-1].position)
        full = len(rows) == limit
        return LogPage(events=events, read_to=events[-1].position if full else up_to)
