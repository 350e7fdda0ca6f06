"""Proofs by devices that the device listener does not let in, and what makes them fresh."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from domain.ids import DeviceId, TenantId

ProofKind = Literal["device-cert-recovery+jwt", "device-cert-status+jwt"]


class DeviceProof(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody has the key of this certificate of ours, which may have run out or been revoked.

    `made_at` is by the device's own clock; `attestation` is of the key of the `csr`.
    """

    tenant_id: TenantId
    device_id: DeviceId
    fingerprint: str
    nonce: str
    made_at: datetime
    csr: str | None
    attestation: Sequence[str] | None = None


class DeviceProofs(Protocol):
    def read(self, proof: str, kind: ProofKind) -> DeviceProof:
        """A compact JWS by the key of the certificate in its `x5c`, meant for us.

        Times are not looked at. Raises Unauthenticated (`proof_invalid`).
        """
        ...


class Nonces(Protocol):
    """Numbers used once. Raises psycopg.Error."""

    async def issue(self, now: datetime, lifetime_s: int) -> str: ...

    async def use(self, nonce: str, now: datetime) -> bool:
        """Whether this number was ours, is not too old, and was never used; of two who ask at
        once, one is told so."""
        ...
