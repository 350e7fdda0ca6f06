"""Renewal: a device that is itself gets a certificate for a new key (reference broker.md §3.2).

The one before stays usable until the new one has been in use for a while, so that an answer that
was lost, or a key that was not written down in time, strands nobody.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import uuid5

from application.execute import execute, retrying, stream_of
from application.fleet.certificates import Pairing, check_key, paired, renew_after
from application.fleet.device_commands import DeviceCommands
from application.ports import (
    CertificateAuthority,
    CertificateRequest,
    Clock,
    EventLog,
    IdSource,
    StaleStream,
    Streams,
)
from application.ports.attestation import KeyAttestations
from application.principals import DevicePrincipal
from domain import attestation as a
from domain import claim as k
from domain import device as d
from domain import tenant as t
from domain.errors import Conflict, Malformed, Unauthenticated
from domain.events import Origin, StreamAppend
from domain.ids import PLATFORM, claim_id

_device: Final = stream_of(d.DeviceRegistered, d.rebuild)


class Renewals:
    def __init__(
        self,
        log: EventLog,
        streams: Streams,
        authority: CertificateAuthority,
        commands: DeviceCommands,
        attestations: KeyAttestations,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._streams = streams
        self._authority = authority
        self._commands = commands
        self._attestations = attestations
        self._clock = clock
        self._ids = ids

    async def renew(
        self, device: DevicePrincipal, csr_pem: str, attestation: Sequence[str] | None = None
    ) -> Pairing:
        """A certificate for the key of this request; the same request gets the same one again.

        Raises Malformed (`csr_…`, `key_policy_violation`, `key_reuse_forbidden`), Invalid
        (`attestation_…`), Conflict (`renewal_too_early`, `key_already_used`), Unauthenticated,
        CommitFailed.
        """
        request = self._authority.examine(csr_pem)
        return await retrying(lambda: self._renew(device, csr_pem, request, attestation))

    async def _renew(
        self,
        device: DevicePrincipal,
        csr_pem: str,
        request: CertificateRequest,
        attestation: Sequence[str] | None,
    ) -> Pairing:
        state = _device(await self._log.load(device.tenant_id, device.device_id))
        tenant = t.rebuild(await self._log.load(device.tenant_id, device.tenant_id))
        if (
            state is None
            or tenant is None
            or not state.holds(device.fingerprint, self._clock.now())
        ):
            raise Unauthenticated("device_unknown")
        newest = state.certificate
        if newest is None or newest.csr_sha256 != request.csr_sha256:
            await self._check_time(device, state, tenant)
        command_id = uuid5(state.id, f"renew:{device.fingerprint}:{request.csr_sha256}")
        return await self.certify(
            device.origin(command_id),
            state,
            tenant,
            csr_pem,
            request,
            attestation,
            device.fingerprint,
        )

    async def certify(
        self,
        origin: Origin,
        device: d.Device,
        tenant: t.Tenant,
        csr_pem: str,
        request: CertificateRequest,
        attestation: Sequence[str] | None,
        replaces: str,
    ) -> Pairing:
        """A certificate for the key of this request, for a device that showed the one it
        `replaces`; the one that it got for the same request, if it did.

        Raises Malformed (`key_reuse_forbidden`, `key_policy_violation`), Invalid
        (`attestation_…`), Conflict (`key_already_used`), StaleStream.
        """
        newest, shown = device.certificate, device.certificate_of(replaces)
        assert newest is not None, "a device that was paired has a newest certificate"
        assert shown is not None, "it is one of the device's two"
        if newest.csr_sha256 == request.csr_sha256:
            issued = self._authority.reread(newest.certificate_pem)
            return paired(self._authority, device.tenant_id, device.id, issued, tenant.settings)
        key_claim = claim_id(PLATFORM, k.DEVICE_KEY, request.spki_sha256)
        claim = k.rebuild(await self._log.load(PLATFORM, key_claim))
        if claim is not None:
            if claim.owner == device.id:
                if len(await self._log.load(device.tenant_id, device.id)) > device.version:
                    # Certified since it was looked up, perhaps for this very request.
                    raise StaleStream([device.id])
                raise Malformed("key_reuse_forbidden", "make a new key for every certificate")
            raise Conflict("key_already_used", "make a new key for every certificate")
        check_key(request, tenant.settings)
        proved = self._proved(attestation, replaces, request, device, tenant)
        recovered = (
            shown.not_after <= self._clock.now()
            or shown.authority not in self._authority.state.trusted
        )
        issued = self._authority.issue(
            csr_pem, device.tenant_id, device.id, validity_days=tenant.settings.certificate_days
        )
        renewed = d.DeviceCertificateRenewed(
            fingerprint=issued.fingerprint_sha256,
            spki_sha256=request.spki_sha256,
            csr_sha256=request.csr_sha256,
            certificate_serial=issued.serial,
            certificate_pem=issued.certificate_pem,
            not_after=issued.not_after,
            authority=issued.authority,
            replaces=replaces,
            recovered=recovered,
            attestation=proved,
        )
        appended = await self._log.append(
            origin,
            [
                StreamAppend(
                    tenant_id=PLATFORM,
                    stream_id=key_claim,
                    expected_version=0,
                    events=[k.ClaimTaken(kind=k.DEVICE_KEY, owner=device.id)],
                ),
                StreamAppend(
                    tenant_id=device.tenant_id,
                    stream_id=device.id,
                    expected_version=device.version,
                    events=d.renew(device, renewed),
                ),
            ],
        )
        if appended.replayed:
            raise StaleStream([device.id])  # look again: the certificate is the log's
        return paired(self._authority, device.tenant_id, device.id, issued, tenant.settings)

    def _proved(
        self,
        chain: Sequence[str] | None,
        replaces: str,
        request: CertificateRequest,
        device: d.Device,
        tenant: t.Tenant,
    ) -> a.Attestation | None:
        proved = None
        if chain is not None:
            proved = self._attestations.verify(
                chain, challenge=a.renewal_challenge(replaces), spki_sha256=request.spki_sha256
            )
        a.check_renewal(proved, device.assurance, tenant.settings.attestation)
        return proved

    async def _check_time(self, device: DevicePrincipal, state: d.Device, tenant: t.Tenant) -> None:
        """By the certificate that it shows: who lost a new key still holds the one before.

        One by a device CA that does not issue any more may be renewed at any time.
        """
        shown = state.certificate_of(device.fingerprint)
        assert shown is not None, "it holds what it shows"
        issued = self._authority.reread(shown.certificate_pem)
        if issued.authority != self._authority.state.issuing:
            return
        from_when = renew_after(issued, tenant.settings)
        if self._clock.now() < from_when and not await self._commands.told(device, "rotate_cert"):
            raise Conflict("renewal_too_early", extra={"renew_after": from_when.isoformat()})

    async def used(self, device: DevicePrincipal) -> None:
        """The device speaks with this certificate: the one before has its days counted.

        Raises CommitFailed.
        """
        state = await self._streams.state(device.tenant_id, device.device_id, d.rebuild)
        tenant = await self._streams.state(device.tenant_id, device.tenant_id, t.rebuild)
        if state is None or tenant is None:
            return
        now = self._clock.now()
        until = now + timedelta(hours=tenant.settings.certificate_overlap_h)
        if d.take_into_use(state, device.fingerprint, until):
            await execute(
                self._log,
                device.origin(self._ids.uuid()),
                device.tenant_id,
                device.device_id,
                _device,
                lambda found: (
                    [] if found is None else d.take_into_use(found, device.fingerprint, until)
                ),
            )
