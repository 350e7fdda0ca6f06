"""One certificate authority: its key, its certificate, and what it signs (RFC 5280)."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from application.ports.pki import RevokedCertificate
from infrastructure.fleet.csr import DeviceKey

CA_VALIDITY: Final = timedelta(days=3650)
CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far in the past a certificate starts: a terminal's clock may be slow."""

_REASONS: Final = {
    "stolen": x509.ReasonFlags.key_compromise,
    "compromised": x509.ReasonFlags.key_compromise,
    "superseded": x509.ReasonFlags.superseded,
    "replaced": x509.ReasonFlags.superseded,
    "retired": x509.ReasonFlags.cessation_of_operation,
}
"""Our reasons in the words of RFC 5280 §5.3.1; a reason that is not here is left out, as the RFC
wants it of `unspecified`."""


class PlatformCAUnusable(Exception):
    """The stored authorities are malformed, do not belong together, or have run out."""


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def generate(cls, common_name: str, now: datetime) -> "Authority":
        """Self-signed, good for ten years.

        P-256, because the device listener verifies one of its signatures in every handshake, and
        OpenSSL takes several times as long over P-384.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        start = now.replace(microsecond=0) - CLOCK_SKEW
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + CA_VALIDITY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(_key_of(key), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(key=key, certificate=certificate)

    @classmethod
    def stored(cls, key_pem: bytes, certificate_pem: bytes) -> "Authority":
        """Raises PlatformCAUnusable."""
        try:
            key = load_pem_private_key(key_pem, None)
            certificate = x509.load_pem_x509_certificate(certificate_pem)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise PlatformCAUnusable(f"a stored authority does not parse: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise PlatformCAUnusable("a stored authority has another kind of key")
        if key.public_key() != certificate.public_key():
            raise PlatformCAUnusable("a stored key and its certificate do not belong together")
        return cls(key=key, certificate=certificate)

    def to_pem(self) -> bytes:
        """Key and certificate; meant for sealing, it must not be stored as it is."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return key + self.certificate.public_bytes(Encoding.PEM)

    def certificate_pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def sign(
        self,
        key: DeviceKey,
        *,
        now: datetime,
        subject: Sequence[tuple[x509.ObjectIdentifier, str]],
        names: Sequence[x509.GeneralName],
        usages: Sequence[x509.ObjectIdentifier],
        validity_days: int,
    ) -> x509.Certificate:
        """A leaf, which never outlives the authority.

        Raises ValueError for a validity below one day, PlatformCAUnusable when the CA has run out.
        """
        if validity_days < 1:
            raise ValueError("a certificate is valid for at least one day")
        now = now.replace(microsecond=0)
        issuer = self.certificate
        not_after = min(now + timedelta(days=validity_days), issuer.not_valid_after_utc)
        if not_after <= now:
            raise PlatformCAUnusable("the CA certificate has run out")
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(oid, text) for oid, text in subject]))
            .issuer_name(issuer.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(now - CLOCK_SKEW, issuer.not_valid_before_utc))
            .not_valid_after(not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(_key_of(self.key), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def revocation_list(
        self,
        number: int,
        revoked: Iterable[RevokedCertificate],
        *,
        this_update: datetime,
        next_update: datetime,
    ) -> bytes:
        """A complete CRL of this authority, DER (RFC 5280 §5)."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(this_update)
            .next_update(next_update)
            .add_extension(_key_of(self.key), critical=False)
            .add_extension(x509.CRLNumber(number), critical=False)
        )
        for each in revoked:
            entry = (
                x509.RevokedCertificateBuilder()
                .serial_number(int(each.serial, 16))
                .revocation_date(each.revoked_at)
            )
            if each.reason in _REASONS:
                entry = entry.add_extension(x509.CRLReason(_REASONS[each.reason]), critical=False)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)


def key_identifier(authority: x509.Certificate) -> bytes:
    """By what leaves name the authority that signed them (RFC 5280 §4.2.1.1)."""
    found = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return found.value.digest


def host_name(host: str) -> x509.GeneralName:
    """The SAN of a host name or an address."""
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Either an authority, which signs certificates and CRLs, or a leaf, which signs handshakes."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_of(authority: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
