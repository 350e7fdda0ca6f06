"""Who stands still when a kind cannot judge an event, and the lines that say so."""

from typing import Final

import psycopg
import structlog

from application.ports import TenantMustWait
from domain.errors import Unavailable
from domain.events import Recorded
from infrastructure.delivery.progress import TenantWait
from infrastructure.projections.blame import description, is_the_events

_log: Final = structlog.stdlib.get_logger("infrastructure.delivery")


def is_the_tenants(error: Exception) -> bool:
    """Whether an event that was judged alone is at fault, or its tenant; else all must wait."""
    return isinstance(error, TenantMustWait) or is_the_events(error)


def wait_at(kind: str, at: Recorded, error: Exception) -> TenantWait:
    return TenantWait(
        kind=kind,
        tenant_id=at.tenant_id,
        position=at.position,
        event=at.event.NAME,
        error=description(error),
    )


def tell_tenant_waits(wait: TenantWait, error: Exception) -> None:
    """What is missing for the tenant may come; an event that cannot be judged is an error."""
    kind, tenant, position = wait.kind, str(wait.tenant_id), wait.position
    name, why = wait.event, wait.error
    if isinstance(error, TenantMustWait):
        _log.warning(
            "delivery_tenant_waits",
            kind=kind,
            tenant=tenant,
            position=position,
            event_name=name,
            error=why,
            reason=error.reason,
        )
    else:
        _log.error(
            "delivery_tenant_halted",
            kind=kind,
            tenant=tenant,
            position=position,
            event_name=name,
            error=why,
        )


def tell_wait_ended(wait: TenantWait) -> None:
    _log.info("delivery_wait_ended", kind=wait.kind, tenant=str(wait.tenant_id))


def tell_all_wait(kind: str, after: int, error: Exception) -> None:
    """What the kind needs may only be away for a while: that is a warning."""
    why = description(error)
    if isinstance(error, Unavailable):
        _log.warning("delivery_kind_waits", kind=kind, after=after, error=why, reason=error.code)
    elif isinstance(error, psycopg.OperationalError):
        _log.warning("delivery_kind_waits", kind=kind, after=after, error=why)
    else:
        _log.error("delivery_kind_halted", kind=kind, after=after, error=why)
