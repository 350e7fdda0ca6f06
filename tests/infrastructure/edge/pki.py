"""Devices with keys and certificates in files, for clients that read files."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from domain.ids import DeviceId, TenantId
from infrastructure.fleet.platform_ca import PlatformCA

TRUST_DOMAIN = "link.example"
TENANT = TenantId(UUID("0198c7a0-9e6c-7b1f-8d3e-2a4b5c6d7e8f"))
CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH


class SystemClock:
    """The real time, moved by `shift`: OpenSSL on the other side looks at the real time too."""

    def __init__(self, shift: timedelta) -> None:
        self.shift = shift

    def now(self) -> datetime:
        return datetime.now(UTC) + self.shift

    def monotonic(self) -> float:
        return 0.0


def new_ca() -> PlatformCA:
    """An authority that is ten days old, so that it can have issued what has expired since."""
    made = PlatformCA.generate(trust_domain=TRUST_DOMAIN, clock=SystemClock(-timedelta(days=10)))
    return at_present(made, timedelta(0))


def at_present(ca: PlatformCA, shift: timedelta) -> PlatformCA:
    """The same authority with its clock moved by `shift` against the real time."""
    return PlatformCA.from_pem(ca.to_pem(), trust_domain=TRUST_DOMAIN, clock=SystemClock(shift))


@dataclass(frozen=True)
class Device:
    """A certificate with its key (`certificate` holds the chain too), and its fingerprint."""

    certificate: Path
    key: Path
    fingerprint: str


class Workshop:
    """Makes devices of one CA; every file lands in `folder`."""

    def __init__(self, folder: Path, ca: PlatformCA) -> None:
        self.folder = folder
        self.ca = ca

    def device(self, ca: PlatformCA | None = None, *, validity_days: int = 30) -> Device:
        """A device as pairing makes it."""
        key = ec.generate_private_key(ec.SECP256R1())
        csr = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            .sign(key, hashes.SHA256())
            .public_bytes(Encoding.PEM)
            .decode()
        )
        issued = (ca or self.ca).issue(csr, TENANT, DeviceId(uuid4()), validity_days=validity_days)
        return self._stored(key, issued.certificate_pem)

    def expired_device(self) -> Device:
        """A device whose certificate ran out yesterday, of a CA that is still good."""
        return self.device(at_present(self.ca, -timedelta(days=3)), validity_days=1)

    def odd_device(
        self, uris: Sequence[str] = (), usages: Sequence[x509.ObjectIdentifier] = (CLIENT_AUTH,)
    ) -> Device:
        """What `PlatformCA` would never issue, signed with its device key all the same."""
        authority_key = load_pem_private_key(self.ca.to_pem(), None)
        assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
        authority = x509.load_pem_x509_certificate(self.ca.device_ca_pem().encode())
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "odd")]))
            .issuer_name(authority.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
                critical=False,
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
        )
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if uris:
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(u) for u in uris])
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(authority_key, hashes.SHA256())
        return self._stored(key, certificate.public_bytes(Encoding.PEM).decode())

    def _stored(self, key: ec.EllipticCurvePrivateKey, certificate_pem: str) -> Device:
        certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
        name = uuid4().hex
        device = Device(
            certificate=self.folder / f"{name}.pem",
            key=self.folder / f"{name}.key",
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        )
        device.certificate.write_text(certificate_pem)
        device.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return device


def run(*command: str | Path, text: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    """A program with this input, to its end; the exit code is the caller's to judge."""
    try:
        return subprocess.run(command, input=text, capture_output=True, check=False, timeout=20)
    except FileNotFoundError:
        pytest.fail(f"these tests need the program {command[0]!r} on the PATH")
