"""The platform's two certificate authorities: one signs devices, one signs our own listeners.

They are separate so that no device certificate, and no mistake in issuing one, can ever pass
for our server in the eyes of a device: devices trust the server CA only (reference broker.md
§6 I). The certificate profile follows RFC 5280.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from application.ports import CertificateRequest, Clock, IssuedCertificate
from domain.ids import DeviceId, TenantId, wire
from domain.spiffe import device_uri
from infrastructure.fleet.csr import DeviceKey, verified_request

CA_VALIDITY: Final = timedelta(days=3650)
CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far in the past a certificate starts: a terminal's clock may be slow."""

_PEM_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----\n", re.DOTALL)


class PlatformCAUnusable(Exception):
    """The stored authorities are malformed, do not belong together, or have run out."""


class _Authority(msgspec.Struct, frozen=True, kw_only=True):
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def certificate_pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()


class PlatformCA:
    """`application.ports.CertificateAuthority` over keys held in this process.

    Made by `generate` once and by `from_pem` ever after.
    """

    def __init__(
        self, *, devices: _Authority, servers: _Authority, trust_domain: str, clock: Clock
    ) -> None:
        self._devices = devices
        self._servers = servers
        self._trust_domain = trust_domain
        self._clock = clock

    @classmethod
    def generate(cls, *, trust_domain: str, clock: Clock) -> "PlatformCA":
        """Two new authorities, self-signed, good for ten years.

        P-256, because the device listener verifies one of their signatures in every handshake,
        and OpenSSL takes several times as long over P-384.
        """
        return cls(
            devices=_new_authority("Link Identity device CA", clock.now()),
            servers=_new_authority("Link Identity server CA", clock.now()),
            trust_domain=trust_domain,
            clock=clock,
        )

    @classmethod
    def from_pem(cls, pem: bytes, *, trust_domain: str, clock: Clock) -> "PlatformCA":
        """What `to_pem` wrote. Raises PlatformCAUnusable."""
        blocks = [found.group(0) for found in _PEM_BLOCK.finditer(pem)]
        if len(blocks) != 4 or b"".join(blocks) != pem:
            raise PlatformCAUnusable("expected two pairs of private key and certificate")
        return cls(
            devices=_stored_authority(blocks[0], blocks[1]),
            servers=_stored_authority(blocks[2], blocks[3]),
            trust_domain=trust_domain,
            clock=clock,
        )

    def to_pem(self) -> bytes:
        """Everything, private keys included: device key and certificate, then the server's.

        Meant for sealing; it must not be stored as it is.
        """
        return b"".join(
            authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + authority.certificate.public_bytes(Encoding.PEM)
            for authority in (self._devices, self._servers)
        )

    def ca_bundle_pem(self) -> str:
        """The CA that a device must trust for our server certificate."""
        return self._servers.certificate_pem()

    def device_ca_pem(self) -> str:
        """The CA that the device listener must trust for client certificates."""
        return self._devices.certificate_pem()

    def examine(self, csr_pem: str) -> CertificateRequest:
        """Whether we would certify this key, and whether who asks holds it.

        Raises Malformed: `csr_invalid`, `csr_signature_invalid` or `key_policy_violation`.
        """
        return verified_request(csr_pem).request

    def issue(
        self, csr_pem: str, tenant_id: TenantId, device_id: DeviceId, *, validity_days: int
    ) -> IssuedCertificate:
        """A device certificate for the key of this request, and for nothing else in it.

        The request is verified here too, so that no path leads around it, and the certificate
        never outlives the CA. Raises Invalid as `examine` does, ValueError for a validity below
        one day, PlatformCAUnusable when the CA has run out.
        """
        name = device_uri(self._trust_domain, tenant_id, device_id)
        certificate = self._sign(
            self._devices,
            verified_request(csr_pem).key,
            subject=[
                (NameOID.ORGANIZATION_NAME, wire("ten", tenant_id)),
                (NameOID.COMMON_NAME, wire("dev", device_id)),
            ],
            names=[x509.UniformResourceIdentifier(name)],
            usages=[ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH],
            validity_days=validity_days,
        )
        return self._as_issued(certificate)

    def reread(self, certificate_pem: str) -> IssuedCertificate:
        """What `issue` answered for a certificate of ours, from the certificate itself.

        Raises PlatformCAUnusable when this device CA did not sign it.
        """
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
            certificate.verify_directly_issued_by(self._devices.certificate)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise PlatformCAUnusable("the certificate is not one of this device CA") from error
        return self._as_issued(certificate)

    def _as_issued(self, certificate: x509.Certificate) -> IssuedCertificate:
        return IssuedCertificate(
            certificate_pem=certificate.public_bytes(Encoding.PEM).decode(),
            chain_pem=self._devices.certificate_pem(),
            fingerprint_sha256=certificate.fingerprint(hashes.SHA256()).hex(),
            serial=f"{certificate.serial_number:x}",
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )

    def issue_server(self, hosts: Sequence[str], *, validity_days: int = 397) -> tuple[str, str]:
        """A certificate for our own listeners under these host names and addresses.

        Answers the chain and a fresh P-256 key, both PEM. Raises ValueError without hosts.
        """
        if not hosts:
            raise ValueError("a server certificate needs at least one host")
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(
            self._servers,
            key.public_key(),
            subject=[(NameOID.COMMON_NAME, "Link Identity")],
            names=[_host_name(host) for host in hosts],
            usages=[ExtendedKeyUsageOID.SERVER_AUTH],
            validity_days=validity_days,
        )
        chain = certificate.public_bytes(Encoding.PEM).decode() + self._servers.certificate_pem()
        key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return chain, key_pem.decode()

    def issue_client(self, service: str, *, validity_days: int = 397) -> tuple[str, str]:
        """A certificate by which a service of ours shows itself to others; chain and key, PEM.

        `service` is the path of its SPIFFE ID; the last segment is the common name.

        It is the server CA's, which whoever trusts our listeners trusts already, and for clients
        only: neither a device's nor a listener's certificate can stand in for it.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        name = f"spiffe://{self._trust_domain}/{service}"
        certificate = self._sign(
            self._servers,
            key.public_key(),
            subject=[(NameOID.COMMON_NAME, f"Link Identity {service.rpartition('/')[2]}")],
            names=[x509.UniformResourceIdentifier(name)],
            usages=[ExtendedKeyUsageOID.CLIENT_AUTH],
            validity_days=validity_days,
        )
        chain = certificate.public_bytes(Encoding.PEM).decode() + self._servers.certificate_pem()
        key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return chain, key_pem.decode()

    def _sign(
        self,
        authority: _Authority,
        key: DeviceKey,
        *,
        subject: Sequence[tuple[x509.ObjectIdentifier, str]],
        names: Sequence[x509.GeneralName],
        usages: Sequence[x509.ObjectIdentifier],
        validity_days: int,
    ) -> x509.Certificate:
        if validity_days < 1:
            raise ValueError("a certificate is valid for at least one day")
        now = self._clock.now().replace(microsecond=0)
        issuer = authority.certificate
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
            .add_extension(_key_of(authority.key), critical=False)
            .sign(authority.key, hashes.SHA256())
        )


def _new_authority(common_name: str, now: datetime) -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    start = now.replace(microsecond=0) - CLOCK_SKEW
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
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_key_of(key), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _Authority(key=key, certificate=certificate)


def _stored_authority(key_pem: bytes, certificate_pem: bytes) -> _Authority:
    try:
        key = load_pem_private_key(key_pem, None)
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise PlatformCAUnusable(f"a stored authority does not parse: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PlatformCAUnusable("a stored authority has another kind of key")
    if key.public_key() != certificate.public_key():
        raise PlatformCAUnusable("a stored key and its certificate do not belong together")
    return _Authority(key=key, certificate=certificate)


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


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
