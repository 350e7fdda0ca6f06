"""Writes what events owe into the outbox, each delivery once."""

from collections.abc import Sequence
from typing import Any, Final, LiteralString

from application.ports import Owed
from application.ports.deliveries import delivery_id, event_id
from infrastructure.database import Connection

_OWE: Final[LiteralString] = """
    INSERT INTO deliveries (
        id, tenant_id, kind, destination, lane, event_id, event, stream_id, stream_version,
        position, recorded_at, state, reason, finished_at
    ) VALUES (
        %(id)s, %(tenant_id)s, %(kind)s, %(destination)s, %(lane)s, %(event_id)s, %(event)s,
        %(stream_id)s, %(stream_version)s, %(position)s, %(recorded_at)s, %(state)s, %(reason)s,
        CASE WHEN %(state)s = 'dead' THEN now() END
    ) ON CONFLICT (id) DO NOTHING
"""


async def write(connection: Connection, kind: str, owed: Sequence[Owed]) -> None:
    if not owed:
        return
    async with connection.cursor() as cursor:
        await cursor.executemany(_OWE, [_row(kind, each) for each in owed])


def _row(kind: str, owed: Owed) -> dict[str, Any]:
    recorded = owed.event
    public = event_id(recorded.stream_id, recorded.version)
    return {
        "id": delivery_id(kind, public, owed.destination),
        "tenant_id": recorded.tenant_id,
        "kind": kind,
        "destination": owed.destination,
        "lane": owed.lane,
        "event_id": public,
        "event": recorded.event.NAME,
        "stream_id": recorded.stream_id,
        "stream_version": recorded.version,
        "position": recorded.position,
        "recorded_at": recorded.recorded_at,
        "state": "pending" if owed.dead is None else "dead",
        "reason": owed.dead,
    }
