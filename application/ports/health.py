"""Whether counterparts answer: asking them, and the book of how often they did not."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from domain.health import HealthStatus
from domain.ids import LinkedServiceId, TenantId


class Probed(msgspec.Struct, frozen=True, kw_only=True):
    """What one probe found. `reason` is a short code of ours, empty for one that is healthy."""

    healthy: bool
    latency_s: float
    reason: str = ""


class HealthProbes(Protocol):
    """Each asks once, within a small deadline and places of its own, and raises nothing."""

    async def product(self, url: str) -> Probed: ...

    async def palm_vendor(self) -> Probed: ...


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """A counterpart that it is time to ask: `checks` so far, the last `failures` of them failed."""

    tenant_id: TenantId
    subject_id: UUID
    checks: int
    failures: int


class HealthBook(Protocol):
    """Counts and times of all tenants. Raises psycopg.Error, which the next round passes by."""

    async def due(self, now: datetime, limit: int) -> Sequence[Due]:
        """Active linked services and the palm vendor, those that waited longest first."""
        ...

    async def note(self, due: Due, probed: Probed, now: datetime, due_at: datetime) -> int | None:
        """Count one probe and say how many have failed in a row now.

        None, and nothing is counted, when somebody else has noted a probe since `due` was read.
        """
        ...


class HealthRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a counterpart at this moment. `failing_since` is its first failure in a
    row, `reason` the code of its last one."""

    status: HealthStatus = "unknown"
    checked_at: datetime | None = None
    failures: int = 0
    failing_since: datetime | None = None
    reason: str | None = None
    latency_ms: float | None = None


class UnhealthyService(msgspec.Struct, frozen=True, kw_only=True):
    service_id: LinkedServiceId
    product_key: str
    record: HealthRecord


class HealthRecords(Protocol):
    """The book, for those who ask. Raises psycopg.Error."""

    async def of(
        self, tenant_id: TenantId, subjects: Sequence[UUID]
    ) -> Mapping[UUID, HealthRecord]:
        """One for each subject, also for those that were never asked."""
        ...

    async def unhealthy(self, tenant_id: TenantId) -> Sequence[UnhealthyService]:
        """A tenant's active linked services that are unhealthy, the longest first."""
        ...

    async def palm_vendor(self) -> HealthRecord: ...
