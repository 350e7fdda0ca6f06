"""Device: registered and bound, paired with its own key, and at the end revoked (003 §3.9)."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from domain.attestation import Assurance, Attestation, RequiredLevel
from domain.errors import Conflict, Invalid
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import DeviceId, TenantId, UserId

DeviceType = Literal["pos", "gate", "kiosk", "personal_scanner"]
DeviceStatus = Literal["pending_pairing", "active", "revoked"]
RevocationReason = Literal["unspecified", "lost", "stolen", "compromised", "replaced", "retired"]


class DeviceRegistered(DomainEvent, frozen=True, kw_only=True):
    """A device is expected: what it is, and which product and action, or whom, it is bound to.

    Devices of one `batch` were asked for together. `attestation` is the least level that its key
    must prove to be paired, whatever less the tenant requires.
    """

    NAME: ClassVar[str] = "device.registered"
    type: DeviceType
    name: str
    serial: str | None = None
    bound_product: str | None = None
    bound_action: str | None = None
    small_model_capable: bool = False
    batch: str | None = None
    bound_user: UserId | None = None
    attestation: RequiredLevel = "none"


class DevicePairingCodeIssued(DomainEvent, frozen=True, kw_only=True):
    """An installer may pair this device once, until `expires_at`. Earlier codes are dead."""

    NAME: ClassVar[str] = "device.pairing_code_issued"
    code_number: int
    expires_at: datetime


class DevicePaired(DomainEvent, frozen=True, kw_only=True):
    """The holder of this key is the device from now on; `authority` numbers our device CAs.

    `attestation` is what its hardware proved of the key, and stays the device's: None for one that
    offered nothing.
    """

    NAME: ClassVar[str] = "device.paired"
    fingerprint: str
    spki_sha256: str
    csr_sha256: str
    certificate_serial: str
    certificate_pem: str
    not_after: datetime
    code_number: int
    info: Mapping[str, str] = {}
    authority: int = 1
    attestation: Attestation | None = None


class DeviceCertificateRenewed(DomainEvent, frozen=True, kw_only=True):
    """The device has a new certificate for a new key; it showed the one that this `replaces`.

    `recovered`: that one had run out, and its key was proof enough. `attestation` is of the new
    key, and no less than the device was paired with.
    """

    NAME: ClassVar[str] = "device.certificate_renewed"
    fingerprint: str
    spki_sha256: str
    csr_sha256: str
    certificate_serial: str
    certificate_pem: str
    not_after: datetime
    replaces: str
    recovered: bool = False
    authority: int = 1
    attestation: Attestation | None = None


class DeviceCertificateTakenIntoUse(DomainEvent, frozen=True, kw_only=True):
    """The device spoke with its new certificate; the one before is refused from then on."""

    NAME: ClassVar[str] = "device.certificate_taken_into_use"
    fingerprint: str
    superseded_at: datetime


class DeviceRevoked(DomainEvent, frozen=True, kw_only=True):
    """Every certificate of this device is refused from now on, everywhere."""

    NAME: ClassVar[str] = "device.revoked"
    reason: RevocationReason
    fingerprints: tuple[str, ...]


class DeviceLocked(DomainEvent, frozen=True, kw_only=True):
    """The device may transact and enrol no more until it is unlocked, paired anew or not."""

    NAME: ClassVar[str] = "device.locked"


class DeviceUnlocked(DomainEvent, frozen=True, kw_only=True):
    """The device may do again what its type may do."""

    NAME: ClassVar[str] = "device.unlocked"


DeviceEvent = (
    DeviceRegistered
    | DevicePairingCodeIssued
    | DevicePaired
    | DeviceRevoked
    | DeviceCertificateRenewed
    | DeviceCertificateTakenIntoUse
    | DeviceLocked
    | DeviceUnlocked
)


class PairedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    fingerprint: str
    csr_sha256: str
    certificate_pem: str
    not_after: datetime
    code_number: int
    authority: int = 1


class Device(msgspec.Struct, frozen=True, kw_only=True):
    id: DeviceId
    tenant_id: TenantId
    version: int
    registered: DeviceRegistered
    status: DeviceStatus
    code_number: int = 0
    code_expires_at: datetime | None = None
    certificate: PairedCertificate | None = None
    previous: PairedCertificate | None = None
    previous_until: datetime | None = None
    locked: bool = False
    attestation: Attestation | None = None

    @property
    def assurance(self) -> Assurance:
        """What was proved of its key when it was paired, and of every key since at the least."""
        return "unattested" if self.attestation is None else self.attestation.level

    def usable(self, now: datetime) -> list[PairedCertificate]:
        """The certificates that may speak for the device right now: two at most."""
        if self.status != "active":
            return []
        return [
            each
            for each in (self.certificate, self.previous)
            if each is not None and now < each.not_after and not self.is_superseded(each, now)
        ]

    def is_superseded(self, certificate: PairedCertificate, now: datetime) -> bool:
        """Whether a newer one has been in use for long enough."""
        until = self.previous_until
        return certificate == self.previous and until is not None and now >= until

    def holds(self, fingerprint: str, now: datetime) -> bool:
        return any(each.fingerprint == fingerprint for each in self.usable(now))

    def certificate_of(self, fingerprint: str) -> PairedCertificate | None:
        """The newest certificate or the one before, if it is this one; usable or not."""
        for each in (self.certificate, self.previous):
            if each is not None and each.fingerprint == fingerprint:
                return each
        return None


def register(device: Device | None, registered: DeviceRegistered) -> list[DeviceEvent]:
    """A product is for devices that transact; a personal scanner is asked for its person."""
    if device is not None:
        if device.registered != registered:
            raise Invalid("idempotency_key_reused", "this key was used for another request")
        return []
    name = registered.name
    if not name.strip() or len(name) > 80 or not name.isprintable():
        raise Invalid("device_name_invalid", "a name of 1 to 80 printable characters")
    bound = (registered.bound_product, registered.bound_action)
    if registered.type in ("pos", "gate") and None in bound:
        raise Invalid("binding_required", "a pos or gate is bound to one product and action")
    if registered.type == "personal_scanner" and bound != (None, None):
        raise Invalid("binding_forbidden", "a personal scanner is bound to no product")
    if registered.type != "personal_scanner" and registered.bound_user is not None:
        raise Invalid("binding_forbidden", "only a personal scanner is one person's")
    if (registered.bound_product is None) != (registered.bound_action is None):
        raise Invalid("binding_required", "bound_product and bound_action come together")
    return [registered]


def issue_pairing_code(
    device: Device, expires_at: datetime, *, stranded: bool = False
) -> list[DeviceEvent]:
    """A revoked device may be paired again; an active one must be revoked first, unless it is
    `stranded`: its certificate is by a device CA in which nobody believes any more."""
    if device.status == "active" and not stranded:
        raise Conflict("device_already_paired", "revoke the device before pairing it again")
    return [DevicePairingCodeIssued(code_number=device.code_number + 1, expires_at=expires_at)]


def pair(device: Device, paired: DevicePaired) -> list[DeviceEvent]:
    expected = device.code_number if device.status == "pending_pairing" else 0
    if expected == 0 or paired.code_number != expected:
        raise Conflict("device_not_pairable", "it was paired, revoked or given a newer code")
    return [paired]


def renew(device: Device, renewed: DeviceCertificateRenewed) -> list[DeviceEvent]:
    """The device holds at most two: of three, the one that it did not show is gone."""
    if device.certificate_of(renewed.replaces) is None:
        raise Conflict("certificate_superseded", "the device has newer certificates")
    return [renewed]


def take_into_use(device: Device, fingerprint: str, superseded_at: datetime) -> list[DeviceEvent]:
    """The first word with a new certificate sets the end of the one before."""
    newest = device.certificate is not None and device.certificate.fingerprint == fingerprint
    if not newest or device.previous is None or device.previous_until is not None:
        return []
    return [DeviceCertificateTakenIntoUse(fingerprint=fingerprint, superseded_at=superseded_at)]


def revoke(device: Device, reason: RevocationReason) -> list[DeviceEvent]:
    if device.status == "revoked":
        return []
    held = (device.certificate, device.previous)
    fingerprints = tuple(each.fingerprint for each in held if each is not None)
    return [DeviceRevoked(reason=reason, fingerprints=fingerprints)]


def revoke_slot(device: Device | None, reason: RevocationReason) -> list[DeviceEvent]:
    """Only what still waits to be paired."""
    waits = device is not None and device.status == "pending_pairing"
    return revoke(device, reason) if device is not None and waits else []


def lock(device: Device) -> list[DeviceEvent]:
    return [] if device.locked else [DeviceLocked()]


def unlock(device: Device) -> list[DeviceEvent]:
    return [DeviceUnlocked()] if device.locked else []


def evolve(device: Device | None, recorded: Recorded) -> Device:
    replace = msgspec.structs.replace
    match recorded.event:
        case DeviceRegistered() as event:
            return Device(
                id=DeviceId(recorded.stream_id),
                tenant_id=recorded.tenant_id,
                version=recorded.version,
                registered=event,
                status="pending_pairing",
            )
        case DevicePairingCodeIssued() as event if device is not None:
            return replace(
                device,
                version=recorded.version,
                status="pending_pairing",
                code_number=event.code_number,
                code_expires_at=event.expires_at,
            )
        case DevicePaired() as event if device is not None:
            return replace(
                device,
                version=recorded.version,
                status="active",
                certificate=PairedCertificate(
                    fingerprint=event.fingerprint,
                    csr_sha256=event.csr_sha256,
                    certificate_pem=event.certificate_pem,
                    not_after=event.not_after,
                    code_number=event.code_number,
                    authority=event.authority,
                ),
                previous=None,
                previous_until=None,
                attestation=event.attestation,
            )
        case DeviceCertificateRenewed() as event if device is not None:
            return replace(
                device,
                version=recorded.version,
                certificate=PairedCertificate(
                    fingerprint=event.fingerprint,
                    csr_sha256=event.csr_sha256,
                    certificate_pem=event.certificate_pem,
                    not_after=event.not_after,
                    code_number=device.code_number,
                    authority=event.authority,
                ),
                previous=device.certificate_of(event.replaces),
                previous_until=None,
            )
        case DeviceCertificateTakenIntoUse() as event if device is not None:
            return replace(device, version=recorded.version, previous_until=event.superseded_at)
        case DeviceRevoked() if device is not None:
            return replace(
                device,
                version=recorded.version,
                status="revoked",
                certificate=None,
                previous=None,
                previous_until=None,
            )
        case DeviceLocked() if device is not None:
            return replace(device, version=recorded.version, locked=True)
        case DeviceUnlocked() if device is not None:
            return replace(device, version=recorded.version, locked=False)
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> Device | None:
    return fold(evolve, past)
