"""For a device that the listener does not let in: why that is, and the way back (broker.md §3.2).

A refused handshake tells nothing. So a device signs a number of ours with the key that it has, on
the listener that wants no certificate, and is told where it stands; and when its certificate has
run out not too long ago, it gets a new one for the old key's word.
"""

from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID, uuid5

import msgspec

from application.execute import retrying, stream_of
from application.fleet.certificates import Pairing, told_to_renew
from application.fleet.renewals import Renewals
from application.ports import CertificateAuthority, CertificateRequest, Clock, EventLog, RateLimiter
from application.ports.recovery import DeviceProof, DeviceProofs, Nonces, ProofKind
from application.principals import device_actor
from domain import device as d
from domain import tenant as t
from domain.errors import Conflict, Forbidden, Malformed, TooMany, Unauthenticated
from domain.events import Origin

NONCE_S: Final = 120
TRIES_PER_ADDRESS: Final = 30
SKEW_MAX: Final = timedelta(minutes=2)

Standing = Literal[
    "valid",
    "superseded",
    "expired_recoverable",
    "expired",
    "revoked",
    "ca_retired",
    "locked",
    "clock_skew",
]
Action = Literal["none", "renew", "recover", "re_pair", "contact_admin"]

_device: Final = stream_of(d.DeviceRegistered, d.rebuild)


class CertificateStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where a certificate stands, and what its device should do about it."""

    status: Standing
    action: Action
    server_time: datetime


class Recoveries:
    def __init__(
        self,
        log: EventLog,
        renewals: Renewals,
        authority: CertificateAuthority,
        proofs: DeviceProofs,
        nonces: Nonces,
        limiter: RateLimiter,
        clock: Clock,
    ) -> None:
        self._log = log
        self._renewals = renewals
        self._authority = authority
        self._proofs = proofs
        self._nonces = nonces
        self._limiter = limiter
        self._clock = clock

    async def nonce(self, address: str) -> str:
        """A number to sign within two minutes, once. Raises TooMany (`rate_limited`)."""
        if not await self._limiter.hit(
            "recovery.address", address, limit=TRIES_PER_ADDRESS, per_s=60
        ):
            raise TooMany("rate_limited", retry_after_s=60)
        return await self._nonces.issue(self._clock.now(), NONCE_S)

    async def status(self, proof: str) -> CertificateStatus:
        """Raises Unauthenticated (`proof_invalid`)."""
        said = await self._fresh(proof, "device-cert-status+jwt")
        device, tenant = await self._whose(said)
        now = self._clock.now()
        status, action = self._standing(said, device, tenant, now)
        return CertificateStatus(status=status, action=action, server_time=now)

    async def recover(self, proof: str, correlation_id: UUID) -> Pairing:
        """A certificate for a new key, for a device whose own has run out or is by a device CA that
        was retired; the same request gets the same one again.

        Raises Unauthenticated (`proof_invalid`), Forbidden (`device_revoked`,
        `recovery_window_passed`, `device_ca_distrusted`), Conflict (`certificate_not_expired`,
        `certificate_superseded`, `key_already_used`), Malformed as a renewal does, CommitFailed.
        """
        said = await self._fresh(proof, "device-cert-recovery+jwt")
        if said.csr is None:
            raise Malformed("csr_invalid", "the proof holds no certificate request")
        request, csr = self._authority.examine(said.csr), said.csr
        return await retrying(lambda: self._recover(said, csr, request, correlation_id))

    async def _recover(
        self, said: DeviceProof, csr: str, request: CertificateRequest, correlation_id: UUID
    ) -> Pairing:
        device, tenant = await self._whose(said)
        if device.status != "active":
            raise Forbidden("device_revoked")
        shown = device.certificate_of(said.fingerprint)
        now = self._clock.now()
        if shown is None or device.is_superseded(shown, now):
            raise Conflict("certificate_superseded", "the device has a newer certificate")
        ca = self._authority.state
        if shown.authority in ca.distrusted:
            raise Forbidden("device_ca_distrusted", "pair the device again")
        if now < shown.not_after and shown.authority not in ca.retired:
            raise Conflict("certificate_not_expired", "renew it with itself")
        if now - shown.not_after > timedelta(days=tenant.settings.certificate_lapsed_days):
            raise Forbidden("recovery_window_passed", "pair the device again")
        origin = Origin(
            actor=device_actor(device.id),
            correlation_id=correlation_id,
            command_id=uuid5(device.id, f"recover:{said.fingerprint}:{request.csr_sha256}"),
        )
        return await self._renewals.certify(
            origin, device, tenant, csr, request, said.attestation, said.fingerprint
        )

    async def _fresh(self, proof: str, kind: ProofKind) -> DeviceProof:
        said = self._proofs.read(proof, kind)
        if not await self._nonces.use(said.nonce, self._clock.now()):
            raise Unauthenticated("proof_invalid")
        return said

    async def _whose(self, said: DeviceProof) -> tuple[d.Device, t.Tenant]:
        device = _device(await self._log.load(said.tenant_id, said.device_id))
        tenant = t.rebuild(await self._log.load(said.tenant_id, said.tenant_id))
        if device is None or tenant is None or tenant.status in ("deleting", "deleted"):
            raise Unauthenticated("proof_invalid")
        return device, tenant

    def _standing(
        self, said: DeviceProof, device: d.Device, tenant: t.Tenant, now: datetime
    ) -> tuple[Standing, Action]:
        if device.status != "active":
            return "revoked", "re_pair" if device.status == "pending_pairing" else "contact_admin"
        shown = device.certificate_of(said.fingerprint)
        if shown is None or device.is_superseded(shown, now):
            return "superseded", "re_pair"
        ca = self._authority.state
        if shown.authority in ca.distrusted:
            return "ca_retired", "re_pair"
        if now >= shown.not_after:
            window = timedelta(days=tenant.settings.certificate_lapsed_days)
            if now - shown.not_after <= window:
                return "expired_recoverable", "recover"
            return "expired", "re_pair"
        if shown.authority in ca.retired:
            return "ca_retired", "recover"
        if abs(said.made_at - now) > SKEW_MAX:
            return "clock_skew", "none"
        if device.locked:
            return "locked", "contact_admin"
        issued = self._authority.reread(shown.certificate_pem)
        due = told_to_renew(issued, tenant.settings, ca, device.id)
        return "valid", "renew" if now >= due else "none"
