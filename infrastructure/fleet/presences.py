"""Presence in PostgreSQL: one row a device, written at each heartbeat and read by its tenant."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, LiteralString

import msgspec
from psycopg.types.json import Jsonb

from application.ports.fleet import DeviceReport, Turned
from domain.ids import DeviceId, TenantId
from domain.presence import FORKS_TOLD, OFFLINE_AFTER, SKEW_MAX_MS, Beat, Heard, hear, is_skewed
from infrastructure.database import Pool, tenant_scope

_HEARD: Final = Heard.__struct_fields__

_ROW: Final[LiteralString] = """
    SELECT fingerprint, boot_id, seq, received_at, interval_s, offset_ms, missed,
           earlier_boot_id, earlier_seq, forks
    FROM device_presence WHERE device_id = %s FOR UPDATE
"""
_FIRST: Final[LiteralString] = """
    INSERT INTO device_presence (device_id, tenant_id, fingerprint, boot_id, seq, received_at,
        interval_s, offset_ms, missed, earlier_boot_id, earlier_seq, forks, reported)
    VALUES (%(device_id)s, %(tenant_id)s, %(fingerprint)s, %(boot_id)s, %(seq)s, %(received_at)s,
        %(interval_s)s, %(offset_ms)s, %(missed)s, %(earlier_boot_id)s, %(earlier_seq)s,
        %(forks)s, %(reported)s)
    ON CONFLICT (device_id) DO NOTHING
"""
_NEXT: Final[LiteralString] = """
    UPDATE device_presence SET fingerprint = %(fingerprint)s, boot_id = %(boot_id)s,
        seq = %(seq)s, received_at = %(received_at)s, interval_s = %(interval_s)s,
        offset_ms = %(offset_ms)s, missed = %(missed)s, earlier_boot_id = %(earlier_boot_id)s,
        earlier_seq = %(earlier_seq)s, forks = %(forks)s, reported = %(reported)s
    WHERE device_id = %(device_id)s
"""
_OF: Final[LiteralString] = """
    SELECT device_id, reported, fingerprint, boot_id, seq, received_at, interval_s, offset_ms,
           missed, earlier_boot_id, earlier_seq, forks
    FROM device_presence WHERE device_id = ANY(%s)
"""
_TURNED: Final[LiteralString] = """
    SELECT tenant_id, device_id, offline, fingerprint, boot_id, seq, received_at, interval_s,
           offset_ms, missed, earlier_boot_id, earlier_seq, forks
    FROM (SELECT *, greatest(received_at, CASE WHEN told_offline THEN received_at
                                               ELSE %(since)s END)
                    + %(intervals)s * interval_s * interval '1 second' < %(now)s AS offline
          FROM device_presence) AS d
    WHERE offline <> told_offline OR (abs(offset_ms) > %(skew)s) <> told_skewed
       OR (forks >= %(forks)s AND told_forked IS DISTINCT FROM fingerprint)
    ORDER BY received_at LIMIT %(limit)s
"""
_TOLD: Final[LiteralString] = """
    UPDATE device_presence SET told_offline = %(offline)s, told_skewed = %(skewed)s,
        told_forked = coalesce(%(forked)s, told_forked)
    WHERE device_id = %(device_id)s
"""
_FORGET: Final[LiteralString] = """
    DELETE FROM device_presence WHERE device_id = %s AND fingerprint = %s
"""


class PostgresPresences:
    """`Presences`, behind row-level security."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def hear(
        self, tenant_id: TenantId, device_id: DeviceId, beat: Beat, reported: Mapping[str, str]
    ) -> Heard | None:
        given = {"device_id": device_id, "tenant_id": tenant_id, "reported": Jsonb(reported)}
        async with tenant_scope(self._pool, tenant_id) as connection:
            row = await (await connection.execute(_ROW, (device_id,))).fetchone()
            if row is None:
                first = hear(None, beat)
                assert first is not None, "the first heartbeat is always news"
                values = given | msgspec.structs.asdict(first)
                if (await connection.execute(_FIRST, values)).rowcount:
                    return first
                row = await (await connection.execute(_ROW, (device_id,))).fetchone()
            heard = None if row is None else hear(_heard(row), beat)
            if heard is not None:
                await connection.execute(_NEXT, given | msgspec.structs.asdict(heard))
            return heard

    async def of(
        self, tenant_id: TenantId, devices: Sequence[DeviceId]
    ) -> Mapping[DeviceId, DeviceReport]:
        async with tenant_scope(self._pool, tenant_id) as connection:
            rows = await (await connection.execute(_OF, (list(devices),))).fetchall()
        return {
            DeviceId(row[0]): DeviceReport(heard=_heard(row[2:]), reported=row[1]) for row in rows
        }


class PostgresPresenceBook:
    """`PresenceBook`; `projector` is a pool of the role that sees all tenants."""

    def __init__(self, projector: Pool) -> None:
        self._projector = projector

    async def turned(self, now: datetime, since: datetime, limit: int) -> Sequence[Turned]:
        given = {
            "now": now,
            "since": since,
            "limit": limit,
            "intervals": OFFLINE_AFTER,
            "skew": SKEW_MAX_MS,
            "forks": FORKS_TOLD,
        }
        async with self._projector.connection() as connection:
            rows = await (await connection.execute(_TURNED, given)).fetchall()
        return [
            Turned(
                tenant_id=TenantId(row[0]),
                device_id=DeviceId(row[1]),
                offline=row[2],
                heard=_heard(row[3:]),
            )
            for row in rows
        ]

    async def told(self, turned: Turned) -> None:
        heard = turned.heard
        given = {
            "device_id": turned.device_id,
            "offline": turned.offline,
            "skewed": is_skewed(heard),
            "forked": heard.fingerprint if heard.forks >= FORKS_TOLD else None,
        }
        async with self._projector.connection() as connection:
            await connection.execute(_TOLD, given)

    async def forget(self, turned: Turned) -> None:
        async with self._projector.connection() as connection:
            await connection.execute(_FORGET, (turned.device_id, turned.heard.fingerprint))


def _heard(row: Sequence[Any]) -> Heard:
    return Heard(**dict(zip(_HEARD, row, strict=True)))
