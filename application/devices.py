"""Fleet commands: register, pairing code, pair, revoke (003 §3.9; reference broker.md §3.1)."""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid5

import msgspec

from application.execute import Done, execute, retrying, stream_of
from application.linked_services import by_product_key
from application.ports import (
    CertificateAuthority,
    CertificateRequest,
    Clock,
    Digests,
    EventLog,
    IdSource,
    IssuedCertificate,
    RateLimiter,
    Revocations,
    StaleStream,
    Streams,
)
from application.principals import Caller, device_actor
from domain import claim as k
from domain import device as d
from domain import pairing_code as p
from domain import tenant as t
from domain.errors import Conflict, Invalid, Malformed, NotFound, PreconditionFailed, TooMany
from domain.events import DomainEvent, Origin, StreamAppend
from domain.ids import PLATFORM, DeviceId, TenantId, claim_id, pairing_code_id

TRIES_PER_ADDRESS: Final = 10
FAILURES_OF_PLATFORM: Final = 1000
FAILURE_WINDOW_S: Final = 600

_rebuild: Final = stream_of(d.DeviceRegistered, d.rebuild)


class IssuedPairingCode(msgspec.Struct, frozen=True, kw_only=True):
    """The only time that the code is seen, in the form for people."""

    code: str
    expires_at: datetime


class Pairing(msgspec.Struct, frozen=True, kw_only=True):
    """What a device gets for its code and its CSR."""

    tenant_id: TenantId
    device_id: DeviceId
    certificate_pem: str
    chain_pem: str
    ca_bundle_pem: str
    not_after: datetime
    renew_after: datetime


class Devices:
    def __init__(
        self,
        log: EventLog,
        streams: Streams,
        authority: CertificateAuthority,
        revocations: Revocations,
        limiter: RateLimiter,
        digests: Digests,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._streams = streams
        self._authority = authority
        self._revocations = revocations
        self._limiter = limiter
        self._digests = digests
        self._clock = clock
        self._ids = ids

    async def register(
        self, caller: Caller, registered: d.DeviceRegistered, key: str | None
    ) -> tuple[d.Device, IssuedPairingCode | None, Done]:
        """A device and its first pairing code. A repeat shows the same code while it lives."""
        if registered.bound_product is not None:
            await self._check_binding(caller.tenant_id, registered)
        command_id = caller.command("device.register", key, self._ids.uuid())
        device_id = DeviceId(uuid5(command_id, "device") if key is not None else self._ids.uuid())
        done = await execute(
            self._log,
            caller.origin(command_id),
            caller.tenant_id,
            device_id,
            _rebuild,
            lambda device: d.register(device, registered),
        )
        device = await self.get(caller.tenant_id, device_id)
        if device.code_number == 0:
            code, done = await self.issue_pairing_code(caller, device_id, key)
            return await self.get(caller.tenant_id, device_id), code, done
        return device, self._live_code(device), done

    async def get(self, tenant_id: TenantId, device_id: UUID) -> d.Device:
        """Raises NotFound (`device_not_found`) for an unknown and another tenant's device alike."""
        device = _rebuild(await self._log.load(tenant_id, device_id))
        if device is None:
            raise NotFound("device_not_found")
        return device

    async def issue_pairing_code(
        self, caller: Caller, device_id: UUID, key: str | None
    ) -> tuple[IssuedPairingCode, Done]:
        """A new code; the one before it is dead. Raises Conflict for a device that is paired."""
        command_id = uuid5(
            caller.command("device.pairing_code", key, self._ids.uuid()), device_id.hex
        )
        expires_at = self._clock.now() + timedelta(seconds=p.LIFETIME_S)

        async def beside() -> list[StreamAppend]:
            number = (await self.get(caller.tenant_id, device_id)).code_number + 1
            issued = p.PairingCodeIssued(
                for_tenant=caller.tenant_id,
                device_id=DeviceId(device_id),
                code_number=number,
                expires_at=expires_at,
            )
            stream = pairing_code_id(self._digest(self._code(device_id, number)))
            return [_begin(PLATFORM, stream, issued)]

        def decide(device: d.Device | None) -> list[d.DeviceEvent]:
            if device is None:
                raise NotFound("device_not_found")
            return d.issue_pairing_code(device, expires_at)

        done = await execute(
            self._log,
            caller.origin(command_id),
            caller.tenant_id,
            device_id,
            _rebuild,
            decide,
            beside,
        )
        device = await self.get(caller.tenant_id, device_id)
        code = self._live_code(device)
        if code is None:
            raise Conflict("pairing_code_superseded")
        return code, done

    async def pair(
        self,
        typed_code: str,
        csr_pem: str,
        info: Mapping[str, str],
        *,
        address: str,
        correlation_id: UUID,
    ) -> Pairing:
        """Turn a code and a key into a device. Cheap checks first, the code is consumed last.

        A lost answer does no harm: the same code with the same CSR gets the same certificate
        while the code lives. Raises NotFound (`pairing_code_invalid`) whatever was wrong with
        the code, TooMany when an address or the whole platform fails too often.
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
                lambda: self._redeem(code, csr_pem, request, info, correlation_id)
            )
        except NotFound:
            await self._limiter.hit(
                "pairing.failures", "platform", limit=FAILURES_OF_PLATFORM, per_s=FAILURE_WINDOW_S
            )
            raise

    async def revoke(
        self,
        caller: Caller,
        device_id: UUID,
        reason: d.RevocationReason,
        if_version: int | None,
    ) -> Done:
        """Refuse the device from now on: here at once, in every process within a second."""

        def decide(device: d.Device | None) -> list[d.DeviceEvent]:
            if device is None:
                raise NotFound("device_not_found")
            if if_version is not None and device.version != if_version:
                raise PreconditionFailed("version_mismatch", f"current is {device.version}")
            return d.revoke(device, reason)

        done = await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            caller.tenant_id,
            device_id,
            _rebuild,
            decide,
        )
        self._revocations.revoked(
            [
                fingerprint
                for event in done.events
                if isinstance(event, d.DeviceRevoked)
                for fingerprint in event.fingerprints
            ]
        )
        return done

    async def _check_binding(self, tenant_id: TenantId, registered: d.DeviceRegistered) -> None:
        service = await by_product_key(self._streams, tenant_id, registered.bound_product or "")
        if service is None or service.status != "active":
            raise Invalid("linked_service_not_found", "bound_product names no active service")
        allowed = service.routing.allowed_actions
        if allowed and registered.bound_action not in allowed:
            raise Invalid("action_not_allowed", "the linked service does not allow this action")

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
        correlation_id: UUID,
    ) -> Pairing:
        # A malformed code is looked up too, so that it costs the same time as a wrong one.
        code_id = pairing_code_id(self._digest(typed or ""))
        found = p.rebuild(await self._log.load(PLATFORM, code_id))
        step, code = p.redeem(found, request.csr_sha256, self._clock.now())
        device = await self.get(code.tenant_id, code.device_id)
        if step == "repeat":
            return self._repeat(device, request)
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
        tenant = t.rebuild(await self._log.load(code.tenant_id, code.tenant_id))
        assert tenant is not None, "a device belongs to a tenant"
        issued = self._authority.issue(
            csr_pem,
            code.tenant_id,
            code.device_id,
            validity_days=tenant.settings.certificate_days,
        )
        paired = d.DevicePaired(
            fingerprint=issued.fingerprint_sha256,
            spki_sha256=request.spki_sha256,
            csr_sha256=request.csr_sha256,
            certificate_serial=issued.serial,
            certificate_pem=issued.certificate_pem,
            not_after=issued.not_after,
            code_number=code.code_number,
            info=dict(info),
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
                _begin(PLATFORM, key_claim, k.ClaimTaken(kind=k.DEVICE_KEY, owner=code.device_id)),
                StreamAppend(
                    tenant_id=code.tenant_id,
                    stream_id=code.device_id,
                    expected_version=device.version,
                    events=d.pair(device, paired),
                ),
            ],
        )
        if appended.replayed:
            return self._repeat(await self.get(code.tenant_id, code.device_id), request)
        return self._pairing(device, issued)

    def _repeat(self, device: d.Device, request: CertificateRequest) -> Pairing:
        held = device.certificate
        if held is None or held.csr_sha256 != request.csr_sha256:
            raise NotFound("pairing_code_invalid")
        return self._pairing(device, self._authority.reread(held.certificate_pem))

    def _pairing(self, device: d.Device, issued: IssuedCertificate) -> Pairing:
        life = issued.not_after - issued.not_before
        return Pairing(
            tenant_id=device.tenant_id,
            device_id=device.id,
            certificate_pem=issued.certificate_pem,
            chain_pem=issued.chain_pem,
            ca_bundle_pem=self._authority.ca_bundle_pem(),
            not_after=issued.not_after,
            renew_after=issued.not_before + life * 2 / 3,
        )

    def _live_code(self, device: d.Device) -> IssuedPairingCode | None:
        expires_at = device.code_expires_at
        if device.status != "pending_pairing" or expires_at is None:
            return None
        code = self._code(device.id, device.code_number)
        return IssuedPairingCode(code=p.shown(code), expires_at=expires_at)

    def _code(self, device_id: UUID, number: int) -> str:
        """The n-th code of a device: unguessable without the key, and kept nowhere."""
        drawn = self._digests.digest("pairing_code.draw", f"{device_id}:{number}")
        return p.draw(hashlib.sha256(drawn.encode()).digest())

    def _digest(self, code: str) -> str:
        return self._digests.digest("pairing_code", code)


def _begin(tenant_id: TenantId, stream_id: UUID, event: DomainEvent) -> StreamAppend:
    return StreamAppend(
        tenant_id=tenant_id, stream_id=stream_id, expected_version=0, events=[event]
    )
