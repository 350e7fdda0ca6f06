"""The circuits before linked services, as far as anybody but the caller of a product must know."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from domain.circuit import Circuit, CircuitState, FailureCounts
from domain.ids import TenantId
from domain.linked_service import BreakerSettings


class CircuitChange(msgspec.Struct, frozen=True, kw_only=True):
    """A circuit opened, opened again, or closed; the other fields are of an opening."""

    tenant_id: TenantId
    service_id: UUID
    before: CircuitState
    after: CircuitState
    open_s: float = 0.0
    openings: int = 0
    failures: FailureCounts = FailureCounts()
    devices: int = 0
    enforced: bool = True


class CircuitReading(msgspec.Struct, frozen=True, kw_only=True):
    """Where a circuit stands, as all processes together see it.

    `calls`, `slow` and `failures` are of the running window while it is closed; otherwise
    `failures` and `devices` are those that it opened for. `probes_left` is how many more calls a
    half-open circuit lets through.
    """

    state: CircuitState
    openings: int
    open_until: datetime | None
    probes_left: int | None
    calls: int
    slow: int
    failures: FailureCounts
    devices: int


class CircuitReadings(Protocol):
    async def read(
        self, tenant_id: TenantId, service_id: UUID, settings: BreakerSettings
    ) -> CircuitReading:
        """What is known of the circuit now."""
        ...


Recall = Callable[[TenantId, UUID], Awaitable[Circuit | None]]
"""What was noted last of a service's circuit."""
