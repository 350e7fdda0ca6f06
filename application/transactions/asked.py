"""What a device asked, and how much of its time is left."""

from typing import Any

import msgspec

from application.palms.recognition import DeviceMatch
from application.ports import Scan
from application.principals import DevicePrincipal
from domain import device as d
from domain import tenant as t
from domain.ids import TransactionId
from domain.transaction import Fingerprint


class TransactionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a device asks, already bounded and decoded by the edge. `seq` is its own count."""

    idempotency_key: str
    scan: Scan
    context: dict[str, Any]
    deadline_ms: int | None = None
    seq: int | None = None
    match: DeviceMatch | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request on its way through the house."""

    device: DevicePrincipal
    state: d.Device
    tenant: t.Tenant
    request: TransactionRequest
    id: TransactionId
    fingerprint: Fingerprint
    context_commitment: str
    context: bytes
    started: float
    deadline_s: float
    simulated: bool = False

    def remaining_s(self, monotonic: float) -> float:
        """What is left of the device's patience at this moment of the monotonic clock."""
        return self.deadline_s - (monotonic - self.started)
