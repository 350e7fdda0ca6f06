"""Keeping count of the Platform Admins who may come in, in the commit that changes it."""

from collections.abc import Callable, Sequence

from application.ports import EventLog
from domain import platform_admins as pa
from domain.events import StreamAppend
from domain.ids import PLATFORM, OperatorId, TenantId

Change = Callable[[pa.PlatformAdmins | None, OperatorId], Sequence[pa.PlatformAdminEvent]]


async def counted(
    log: EventLog, tenant_id: TenantId, operator_id: OperatorId, change: Change
) -> Sequence[StreamAppend]:
    """What is appended beside; nothing for a tenant's people.

    Raises Conflict (`last_platform_admin`).
    """
    if tenant_id != PLATFORM:
        return ()
    admins = pa.rebuild(await log.load(PLATFORM, pa.STREAM))
    events = change(admins, operator_id)
    if not events:
        return ()
    append = StreamAppend(
        tenant_id=PLATFORM,
        stream_id=pa.STREAM,
        expected_version=0 if admins is None else admins.version,
        events=events,
    )
    return (append,)
