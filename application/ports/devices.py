"""Devices' keys and certificates."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from domain.ids import DeviceId, TenantId


class CertificateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A CSR whose self-signature has been verified: its holder has the key."""

    csr_sha256: str
    spki_sha256: str
    challenge_password: str | None


class IssuedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    certificate_pem: str
    chain_pem: str
    fingerprint_sha256: str
    serial: str
    not_before: datetime
    not_after: datetime


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


class Revocations(Protocol):
    def revoked(self, fingerprints: Sequence[str]) -> None:
        """Refuse these certificates here at once; other processes hear of it by the log."""
        ...
