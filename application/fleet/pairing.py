"""Pairing: a code and a key become a device, once (003 §3.9; reference broker.md §3.1)."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID, uuid5

from application.execute import retrying
from application.fleet.certificates import Pairing, check_key, paired
from application.fleet.devices import Devices
from application.fleet.pairing_codes import PairingCodes
from application.ports import (
    CertificateAuthority,
    CertificateRequest,
    Clock,
    EventLog,
    RateLimiter,
    StaleStream,
)
from application.ports.attestation import KeyAttestations
from application.principals import device_actor
from domain import attestation as a
from domain import claim as k
from domain import device as d
from domain import pairing_code as p
from domain import tenant as t
from domain.errors import Conflict, Malformed, NotFound, TooMany
from domain.events import Origin, StreamAppend
from domain.ids import PLATFORM, claim_id

TRIES_PER_ADDRESS: Final = 10
FAILURES_OF_PLATFORM: Final = 1000
FAILURE_WINDOW_S: Final = 600


class Pairings:
    def __init__(
        self,
        log: EventLog,
        devices: Devices,
        authority: CertificateAuthority,
        limiter: RateLimiter,
        codes: PairingCodes,
        attestations: KeyAttestations,
        clock: Clock,
    ) -> None:
        self._log = log
        self._devices = devices
        self._authority = authority
        self._limiter = limiter
        self._codes = codes
        self._attestations = attestations
        self._clock = clock

    async def pair(
        self,
        typed_code: str,
        csr_pem: str,
        info: Mapping[str, str],
        attestation: Sequence[str] | None = None,
        *,
        address: str,
        correlation_id: UUID,
    ) -> Pairing:
        """Turn a code and a key into a device. Cheap checks first, the code is consumed last.

        A lost answer does no harm: the same code with the same CSR gets the same certificate
        while the code lives. `attestation` is the chain in which hardware vouches for the key.
        Raises NotFound (`pairing_code_invalid`) whatever was wrong with the code, Forbidden
        (`tenant_suspended`), Invalid (`attestation_…`), TooMany when an address or the whole
        platform fails too often.
        """
        await self._within_budget(address)
        code = p.normalise(typed_code)
        request = self._authority.examine(csr_pem)
        if request.challenge_password is not None and code != p.normalise(
            request.challenge_password
        ):
            raise Malformed("code_binding_mismatch", "the CSR was made for another code")
        try:
            return await retrying(
                lambda: self._redeem(code, csr_pem, request, info, attestation, correlation_id)
            )
        except NotFound:
            await self._limiter.hit(
                "pairing.failures", "platform", limit=FAILURES_OF_PLATFORM, per_s=FAILURE_WINDOW_S
            )
            raise

    async def _within_budget(self, address: str) -> None:
        if not await self._limiter.hit(
            "pairing.address", address, limit=TRIES_PER_ADDRESS, per_s=60
        ):
            raise TooMany("rate_limited", retry_after_s=60)
        if not await self._limiter.room(
            "pairing.failures", "platform", limit=FAILURES_OF_PLATFORM, per_s=FAILURE_WINDOW_S
        ):
            raise TooMany("pairing_paused", "too many failures", retry_after_s=FAILURE_WINDOW_S)

    async def _redeem(
        self,
        typed: str | None,
        csr_pem: str,
        request: CertificateRequest,
        info: Mapping[str, str],
        chain: Sequence[str] | None,
        correlation_id: UUID,
    ) -> Pairing:
        # A malformed code is looked up too, so that it costs the same time as a wrong one.
        code_id = self._codes.typed(typed)
        found = p.rebuild(await self._log.load(PLATFORM, code_id))
        step, code = p.redeem(found, request.csr_sha256, self._clock.now())
        device = await self._devices.get(code.tenant_id, code.device_id)
        tenant = t.rebuild(await self._log.load(code.tenant_id, code.tenant_id))
        assert tenant is not None, "a device belongs to a tenant"
        t.serve(tenant)
        if step == "repeat":
            return self._repeat(device, request, tenant)
        key_claim = claim_id(PLATFORM, k.DEVICE_KEY, request.spki_sha256)
        key_used = bool(await self._log.load(PLATFORM, key_claim))
        awaited = device.status == "pending_pairing" and device.code_number == code.code_number
        if key_used or not awaited:
            if len(await self._log.load(PLATFORM, code.id)) > code.version:
                # Redeemed since it was looked up, perhaps by this very key: look again.
                raise StaleStream([code.id])
            if not awaited:
                raise NotFound("pairing_code_invalid")
            raise Conflict("key_already_used", "make a new key for every pairing")
        check_key(request, tenant.settings)
        assert typed is not None, "a code that was found was well formed"
        proved = self._proved(typed, chain, request, device, tenant)
        issued = self._authority.issue(
            csr_pem,
            code.tenant_id,
            code.device_id,
            validity_days=tenant.settings.certificate_days,
        )
        device_paired = d.DevicePaired(
            fingerprint=issued.fingerprint_sha256,
            spki_sha256=request.spki_sha256,
            csr_sha256=request.csr_sha256,
            certificate_serial=issued.serial,
            certificate_pem=issued.certificate_pem,
            not_after=issued.not_after,
            authority=issued.authority,
            code_number=code.code_number,
            info=dict(info),
            attestation=proved,
        )
        origin = Origin(
            actor=device_actor(code.device_id),
            correlation_id=correlation_id,
            command_id=uuid5(code.id, request.csr_sha256),
        )
        appended = await self._log.append(
            origin,
            [
                StreamAppend(
                    tenant_id=PLATFORM,
                    stream_id=code.id,
                    expected_version=code.version,
                    events=[p.PairingCodeRedeemed(csr_sha256=request.csr_sha256)],
                ),
                StreamAppend(
                    tenant_id=PLATFORM,
                    stream_id=key_claim,
                    expected_version=0,
                    events=[k.ClaimTaken(kind=k.DEVICE_KEY, owner=code.device_id)],
                ),
                StreamAppend(
                    tenant_id=code.tenant_id,
                    stream_id=code.device_id,
                    expected_version=device.version,
                    events=d.pair(device, device_paired),
                ),
            ],
        )
        if appended.replayed:
            device = await self._devices.get(code.tenant_id, code.device_id)
            return self._repeat(device, request, tenant)
        return paired(self._authority, device.tenant_id, device.id, issued, tenant.settings)

    def _proved(
        self,
        code: str,
        chain: Sequence[str] | None,
        request: CertificateRequest,
        device: d.Device,
        tenant: t.Tenant,
    ) -> a.Attestation | None:
        policy, expected = tenant.settings.attestation, device.registered
        proved = None
        if chain is not None:
            proved = self._attestations.verify(
                chain, challenge=a.pairing_challenge(code), spki_sha256=request.spki_sha256
            )
        a.check_pairing(proved, (policy.of_type(expected.type), expected.attestation), policy)
        return proved

    def _repeat(self, device: d.Device, request: CertificateRequest, tenant: t.Tenant) -> Pairing:
        held = device.certificate
        if held is None or held.csr_sha256 != request.csr_sha256:
            raise NotFound("pairing_code_invalid")
        issued = self._authority.reread(held.certificate_pem)
        return paired(self._authority, device.tenant_id, device.id, issued, tenant.settings)
