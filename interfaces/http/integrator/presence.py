"""Whether devices are heard of, as their owners are shown it (reference broker.md §3.3)."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from application.ports.fleet import DeviceReport
from domain.ids import DeviceId, TenantId
from domain.presence import PresenceStatus, status
from interfaces.http.services import Services


class PresenceShown(msgspec.Struct, frozen=True, kw_only=True):
    """`late` is half an interval overdue, `offline` three intervals; a device that was never
    heard of is `never`. `reported` is its own word about itself; `missed` are heartbeats of its
    present run that never came; a positive `clock_offset_ms` is a clock ahead of ours."""

    status: PresenceStatus
    last_heard_at: datetime | None = None
    clock_offset_ms: int | None = None
    missed: int | None = None
    reported: dict[str, str] = {}


async def presences_of(
    services: Services, tenant_id: TenantId, devices: Sequence[DeviceId]
) -> Mapping[DeviceId, PresenceShown]:
    """One for each of the devices."""
    reports = await services.presences.of(tenant_id, devices)
    now = services.clock.now()
    return {each: _shown(reports.get(each), now) for each in devices}


def _shown(report: DeviceReport | None, now: datetime) -> PresenceShown:
    if report is None:
        return PresenceShown(status="never")
    heard = report.heard
    return PresenceShown(
        status=status(heard, now),
        last_heard_at=heard.received_at,
        clock_offset_ms=heard.offset_ms,
        missed=heard.missed,
        reported=dict(report.reported),
    )
