"""Health: whether a counterpart that is asked every minute still answers (004 §10.7).

What a stream says is only what somebody must be told of: that a counterpart became unhealthy and
that it answers again. How often it has failed in a row is counted outside the log.
"""

from collections.abc import Iterable
from typing import ClassVar, Final, Literal
from uuid import UUID, uuid5

import msgspec

from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import PLATFORM, LinkedServiceId

UNHEALTHY_AFTER: Final = 3
"""So many failures in a row: one lost answer is nobody's outage."""

HealthStatus = Literal["unknown", "healthy", "unhealthy"]

PALM_VENDOR: Final = uuid5(PLATFORM, "palm_vendor")
"""What is known of the palm vendor goes by this id; it is the platform's, not a tenant's."""


class LinkedServiceBecameUnhealthy(DomainEvent, frozen=True, kw_only=True):
    """A product's health endpoint failed several times in a row, the last time for `reason`."""

    NAME: ClassVar[str] = "linked_service.became_unhealthy"
    service_id: LinkedServiceId
    product_key: str
    reason: str
    consecutive_failures: int


class LinkedServiceBecameHealthy(DomainEvent, frozen=True, kw_only=True):
    """A product that was unhealthy answers again."""

    NAME: ClassVar[str] = "linked_service.became_healthy"
    service_id: LinkedServiceId
    product_key: str


class PalmVendorBecameUnhealthy(DomainEvent, frozen=True, kw_only=True):
    """The palm vendor failed several times in a row; whole tenants stand at closed gates."""

    NAME: ClassVar[str] = "palm_vendor.became_unhealthy"
    reason: str
    consecutive_failures: int


class PalmVendorBecameHealthy(DomainEvent, frozen=True, kw_only=True):
    """The palm vendor answers again."""

    NAME: ClassVar[str] = "palm_vendor.became_healthy"


HealthEvent = (
    LinkedServiceBecameUnhealthy
    | LinkedServiceBecameHealthy
    | PalmVendorBecameUnhealthy
    | PalmVendorBecameHealthy
)


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What was said last of one counterpart."""

    version: int
    unhealthy: bool


def health_id(subject: UUID) -> UUID:
    """The stream of a counterpart's health: its own, so that it moves nobody's settings."""
    return uuid5(subject, "health")


def status(failures: int, *, ever_healthy: bool) -> HealthStatus:
    """What so many failures in a row mean, for a counterpart that was healthy before or never."""
    if failures >= UNHEALTHY_AFTER:
        return "unhealthy"
    return "healthy" if ever_healthy else "unknown"


def tell(health: Health | None, event: HealthEvent) -> list[HealthEvent]:
    """The event, unless it is already so; a counterpart of which nothing was said is healthy."""
    unhealthy = health is not None and health.unhealthy
    return [event] if _is_unhealthy(event) != unhealthy else []


def _is_unhealthy(event: HealthEvent) -> bool:
    return isinstance(event, LinkedServiceBecameUnhealthy | PalmVendorBecameUnhealthy)


def evolve(health: Health | None, recorded: Recorded) -> Health:
    del health  # every event says all that there is to know
    match recorded.event:
        case LinkedServiceBecameUnhealthy() | PalmVendorBecameUnhealthy():
            return Health(version=recorded.version, unhealthy=True)
        case LinkedServiceBecameHealthy() | PalmVendorBecameHealthy():
            return Health(version=recorded.version, unhealthy=False)
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> Health | None:
    return fold(evolve, past)
