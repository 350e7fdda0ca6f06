"""What logs are called: one origin for each tenant, one for the platform (C2SP tlog-checkpoint)."""

from typing import Final
from uuid import UUID

from domain.ids import TenantId, wire

PLATFORM_LOG: Final = TenantId(UUID(int=1))
"""The id of the tree over the tenants' checkpoints. Like a tenant's in every table, and no tenant:
their ids are UUIDv7, and `domain.ids.PLATFORM` is 0."""


def origin_of(prefix: str, log_id: TenantId) -> str:
    """`link.example/tenants/ten_0198…`, or `link.example/platform`; also the name of its key."""
    if log_id == PLATFORM_LOG:
        return f"{prefix}/platform"
    return f"{prefix}/tenants/{wire('ten', log_id)}"
