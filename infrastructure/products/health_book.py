"""The book of health checks in PostgreSQL: workers write it, tenants read their own lines."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from application.ports.health import Due, HealthRecord, Probed, UnhealthyService
from domain.health import PALM_VENDOR, UNHEALTHY_AFTER, status
from domain.ids import PLATFORM, LinkedServiceId, TenantId
from infrastructure.database import Pool, tenant_scope

_DUE: Final[LiteralString] = """
    WITH watched (tenant_id, subject_id) AS (
        SELECT tenant_id, service_id FROM read_models.linked_services WHERE status = 'active'
        UNION ALL SELECT %(platform)s::uuid, %(palm_vendor)s::uuid)
    SELECT w.tenant_id, w.subject_id, coalesce(c.checks, 0), coalesce(c.failures, 0)
    FROM watched w LEFT JOIN health_checks c USING (subject_id)
    WHERE c.due_at IS NULL OR c.due_at <= %(now)s
    ORDER BY c.due_at NULLS FIRST LIMIT %(limit)s
"""
_NOTE: Final[LiteralString] = """
    INSERT INTO health_checks AS c (subject_id, tenant_id, checks, failures, reason, latency_ms,
                                    checked_at, healthy_at, failing_since, due_at)
    VALUES (%(subject_id)s, %(tenant_id)s, 1, %(failed)s, %(reason)s, %(latency_ms)s, %(now)s,
            %(healthy_at)s, %(failing_since)s, %(due_at)s)
    ON CONFLICT (subject_id) DO UPDATE SET
        checks = c.checks + 1,
        failures = CASE WHEN %(failed)s = 0 THEN 0 ELSE c.failures + 1 END,
        reason = %(reason)s,
        latency_ms = %(latency_ms)s,
        checked_at = %(now)s,
        healthy_at = coalesce(%(healthy_at)s, c.healthy_at),
        failing_since = CASE WHEN %(failed)s = 0 THEN NULL
                             ELSE coalesce(c.failing_since, %(now)s) END,
        due_at = %(due_at)s
    WHERE c.checks = %(checks)s
    RETURNING failures
"""
_OF: Final[LiteralString] = """
    SELECT subject_id, failures, healthy_at, checked_at, failing_since, reason, latency_ms
    FROM health_checks WHERE subject_id = ANY(%s)
"""
_UNHEALTHY: Final[LiteralString] = """
    SELECT s.service_id, s.product_key,
           c.failures, c.healthy_at, c.checked_at, c.failing_since, c.reason, c.latency_ms
    FROM health_checks c JOIN read_models.linked_services s ON s.service_id = c.subject_id
    WHERE c.tenant_id = %s AND s.tenant_id = %s AND s.status = 'active' AND c.failures >= %s
    ORDER BY c.failing_since, s.service_id
"""
_COUNT: Final[LiteralString] = """
    SELECT count(*) FILTER (WHERE tenant_id <> %(platform)s),
           count(*) FILTER (WHERE tenant_id = %(platform)s)
    FROM health_checks c WHERE failures >= %(most)s
      AND (tenant_id = %(platform)s OR EXISTS (
          SELECT FROM read_models.linked_services s
          WHERE s.service_id = c.subject_id AND s.status = 'active'))
"""


class PostgresHealthBook:
    """`HealthBook`; `projector` is a pool of the role that sees all tenants."""

    def __init__(self, projector: Pool) -> None:
        self._projector = projector

    async def due(self, now: datetime, limit: int) -> Sequence[Due]:
        given = {"now": now, "limit": limit, "platform": PLATFORM, "palm_vendor": PALM_VENDOR}
        async with self._projector.connection() as connection:
            rows = await (await connection.execute(_DUE, given)).fetchall()
        return [
            Due(tenant_id=tenant_id, subject_id=subject_id, checks=checks, failures=failures)
            for tenant_id, subject_id, checks, failures in rows
        ]

    async def note(self, due: Due, probed: Probed, now: datetime, due_at: datetime) -> int | None:
        given = {
            "subject_id": due.subject_id,
            "tenant_id": due.tenant_id,
            "checks": due.checks,
            "failed": 0 if probed.healthy else 1,
            "reason": probed.reason or None,
            "latency_ms": probed.latency_s * 1000,
            "now": now,
            "healthy_at": now if probed.healthy else None,
            "failing_since": None if probed.healthy else now,
            "due_at": due_at,
        }
        async with self._projector.connection() as connection:
            row = await (await connection.execute(_NOTE, given)).fetchone()
        return None if row is None else int(row[0])

    async def unhealthy(self) -> tuple[int, int]:
        """How many active linked services of all tenants are unhealthy, and how many of the
        platform's own counterparts."""
        given = {"platform": PLATFORM, "most": UNHEALTHY_AFTER}
        async with self._projector.connection() as connection:
            row = await (await connection.execute(_COUNT, given)).fetchone()
        assert row is not None, "count(*) answers with one row"
        return row[0], row[1]


class PostgresHealthRecords:
    """`HealthRecords`, behind row-level security."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def of(
        self, tenant_id: TenantId, subjects: Sequence[UUID]
    ) -> Mapping[UUID, HealthRecord]:
        async with tenant_scope(self._pool, tenant_id) as connection:
            rows = await (await connection.execute(_OF, (list(subjects),))).fetchall()
        known = {row[0]: _record(row[1:]) for row in rows}
        return {subject: known.get(subject, HealthRecord()) for subject in subjects}

    async def unhealthy(self, tenant_id: TenantId) -> Sequence[UnhealthyService]:
        given = (tenant_id, tenant_id, UNHEALTHY_AFTER)
        async with tenant_scope(self._pool, tenant_id) as connection:
            rows = await (await connection.execute(_UNHEALTHY, given)).fetchall()
        return [
            UnhealthyService(
                service_id=LinkedServiceId(row[0]), product_key=row[1], record=_record(row[2:])
            )
            for row in rows
        ]

    async def palm_vendor(self) -> HealthRecord:
        return (await self.of(PLATFORM, (PALM_VENDOR,)))[PALM_VENDOR]


def _record(row: Sequence[Any]) -> HealthRecord:
    failures, healthy_at, checked_at, failing_since, reason, latency_ms = row
    return HealthRecord(
        status=status(failures, ever_healthy=healthy_at is not None),
        checked_at=checked_at,
        failures=failures,
        failing_since=failing_since,
        reason=reason,
        latency_ms=latency_ms,
    )
