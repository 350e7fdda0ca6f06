"""Devices' keys and certificates."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from domain.device_ca import DeviceCA
from domain.ids import DeviceId, TenantId
from domain.tenant_settings import KeyType


class CertificateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A CSR whose self-signature has been verified: its holder has the key."""

    csr_sha256: str
    spki_sha256: str
    key_type: KeyType
    challenge_password: str | None


class IssuedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """`authority` numbers the device CA that signed it; `chain_pem` is that CA."""

    certificate_pem: str
    chain_pem: str
    fingerprint_sha256: str
    serial: str
    not_before: datetime
    not_after: datetime
    authority: int = 1


class DeviceSignatures(Protocol):
    def verify(self, certificate_pem: str, message: bytes, signature: bytes) -> bool:
        """Whether the key in the certificate signed these bytes (ECDSA or RSA over SHA-256)."""
        ...


class CertificateAuthority(Protocol):
    def examine(self, csr_pem: str) -> CertificateRequest:
        """Raises Malformed: `csr_invalid`, `csr_signature_invalid` or `key_policy_violation`."""
        ...

    def issue(
        self, csr_pem: str, tenant_id: TenantId, device_id: DeviceId, *, validity_days: int
    ) -> IssuedCertificate:
        """Subject, SAN and extensions are ours; only the public key is taken from the CSR."""
        ...

    def reread(self, certificate_pem: str) -> IssuedCertificate:
        """What `issue` answered for a certificate of ours, from the certificate itself."""
        ...

    def ca_bundle_pem(self) -> str:
        """The CA that a device must trust for our server certificate."""
        ...

    @property
    def state(self) -> DeviceCA:
        """Which device CAs issue and are trusted, as far as this process has heard."""
        ...

    def device_ca_pem(self) -> str:
        """The trusted device CAs, PEM, the one that issues first."""
        ...

    def device_ca(self, number: int) -> str:
        """One device CA, PEM. Raises KeyError for one that nobody here ever heard of."""
        ...


class Revocations(Protocol):
    def revoked(self, fingerprints: Sequence[str]) -> None:
        """Refuse these certificates here at once; other processes hear of it by the log."""
        ...
