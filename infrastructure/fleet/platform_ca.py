"""The platform's certificate authorities: of devices, and of our own listeners.

They are separate so that no device certificate, and no mistake in issuing one, can ever pass
for our server in the eyes of a device: devices trust the server CA only (reference broker.md
§6 I). Device CAs have numbers: one issues, another may be trusted beside it while the fleet moves
(`domain/device_ca.py`).
"""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from application.ports import CertificateRequest, Clock, IssuedCertificate
from application.ports.pki import RevokedCertificate
from domain.device_ca import FIRST, DeviceCA
from domain.errors import Unavailable
from domain.ids import DeviceId, TenantId, wire
from domain.spiffe import device_uri
from infrastructure.fleet.authority import Authority, PlatformCAUnusable, host_name
from infrastructure.fleet.csr import verified_request

_PEM_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----\n", re.DOTALL)


class PlatformCA:
    """`application.ports.CertificateAuthority` over keys held in this process.

    Made by `generate` once and by `from_pem` ever after. `follow` and `hold` bring it to what the
    log says of device CAs.
    """

    def __init__(
        self, *, devices: Authority, servers: Authority, trust_domain: str, clock: Clock
    ) -> None:
        self._state = DeviceCA()
        self._held = {FIRST: devices}
        self._known = {FIRST: devices.certificate}
        self._servers = servers
        self._anchors: tuple[str, ...] = ()
        self._trust_domain = trust_domain
        self._clock = clock

    @classmethod
    def generate(cls, *, trust_domain: str, clock: Clock) -> "PlatformCA":
        """The first authority of devices, and the one of servers."""
        return cls(
            devices=Authority.generate("Link Identity device CA", clock.now()),
            servers=Authority.generate("Link Identity server CA", clock.now()),
            trust_domain=trust_domain,
            clock=clock,
        )

    @classmethod
    def from_pem(cls, pem: bytes, *, trust_domain: str, clock: Clock) -> "PlatformCA":
        """What `to_pem` wrote. Raises PlatformCAUnusable."""
        blocks = _blocks(pem, 4)
        return cls(
            devices=Authority.stored(blocks[0], blocks[1]),
            servers=Authority.stored(blocks[2], blocks[3]),
            trust_domain=trust_domain,
            clock=clock,
        )

    def to_pem(self) -> bytes:
        """What `generate` made, private keys included: device key and certificate, then the
        server's. Meant for sealing; it must not be stored as it is.
        """
        return self._held[FIRST].to_pem() + self._servers.to_pem()

    @property
    def state(self) -> DeviceCA:
        return self._state

    def follow(self, state: DeviceCA) -> None:
        """From now on these device CAs issue and are trusted."""
        for number, pem in state.certificates.items():
            if number not in self._known:
                self._known[number] = x509.load_pem_x509_certificate(pem.encode())
        self._state = state

    def hold(self, number: int, pem: bytes) -> None:
        """The key of a device CA and its certificate. Raises PlatformCAUnusable."""
        held = Authority.stored(*_blocks(pem, 2))
        self._held[number] = held
        self._known.setdefault(number, held.certificate)

    def missing(self) -> Sequence[int]:
        """The trusted device CAs whose keys are not here yet."""
        return [number for number in self._state.trusted if number not in self._held]

    def ca_bundle_pem(self) -> str:
        """The CAs that a device must trust for our server certificate, our own first."""
        return self._servers.certificate_pem() + "".join(self._anchors)

    def server_ca_pem(self) -> str:
        """Our own CA of servers alone."""
        return self._servers.certificate_pem()

    def give_anchors(self, pems: Sequence[str]) -> None:
        """From now on devices are given these CAs of the operator's, too."""
        self._anchors = tuple(dict.fromkeys(pems))

    def device_ca_pem(self) -> str:
        """The CAs that the device listener must trust for client certificates, the one that issues
        first."""
        return "".join(self.device_ca(number) for number in self._state.trusted)

    def device_ca(self, number: int) -> str:
        """One device CA, PEM. Raises KeyError for one that nobody here ever heard of."""
        return self._known[number].public_bytes(Encoding.PEM).decode()

    def revocation_list(
        self,
        authority: int,
        number: int,
        revoked: Iterable[RevokedCertificate],
        *,
        this_update: datetime,
        next_update: datetime,
    ) -> bytes:
        """A CRL of this device CA, DER. Raises KeyError when its key is not here."""
        return self._held[authority].revocation_list(
            number, revoked, this_update=this_update, next_update=next_update
        )

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
        one day, PlatformCAUnusable when the CA has run out, and Unavailable (`device_ca_changing`)
        while the key of a CA that was just made is on its way here.
        """
        issuing = self._state.issuing
        if issuing not in self._held:
            raise Unavailable("device_ca_changing", retry_after_s=1)
        name = device_uri(self._trust_domain, tenant_id, device_id)
        certificate = self._held[issuing].sign(
            verified_request(csr_pem).key,
            now=self._clock.now(),
            subject=[
                (NameOID.ORGANIZATION_NAME, wire("ten", tenant_id)),
                (NameOID.COMMON_NAME, wire("dev", device_id)),
            ],
            names=[x509.UniformResourceIdentifier(name)],
            usages=[ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH],
            validity_days=validity_days,
        )
        return self._as_issued(certificate, issuing)

    def reread(self, certificate_pem: str) -> IssuedCertificate:
        """What `issue` answered for a certificate of ours, from the certificate itself.

        Raises PlatformCAUnusable when no device CA of ours signed it.
        """
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
        except ValueError as error:
            raise PlatformCAUnusable("the certificate does not parse") from error
        number = self.signer_of(certificate)
        if number is None:
            raise PlatformCAUnusable("the certificate is not one of our device CAs")
        return self._as_issued(certificate, number)

    def signer_of(self, certificate: x509.Certificate) -> int | None:
        """The device CA, of today or of before, that signed this certificate."""
        for number, authority in self._known.items():
            try:
                certificate.verify_directly_issued_by(authority)
            except (ValueError, TypeError, InvalidSignature):
                continue
            return number
        return None

    def _as_issued(self, certificate: x509.Certificate, number: int) -> IssuedCertificate:
        return IssuedCertificate(
            certificate_pem=certificate.public_bytes(Encoding.PEM).decode(),
            chain_pem=self.device_ca(number),
            fingerprint_sha256=certificate.fingerprint(hashes.SHA256()).hex(),
            serial=f"{certificate.serial_number:x}",
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            authority=number,
        )

    def issue_server(self, hosts: Sequence[str], *, validity_days: int = 397) -> tuple[str, str]:
        """A certificate for our own listeners under these host names and addresses.

        Answers the chain and a fresh P-256 key, both PEM. Raises ValueError without hosts.
        """
        if not hosts:
            raise ValueError("a server certificate needs at least one host")
        return self._own(
            "Link Identity",
            [host_name(host) for host in hosts],
            ExtendedKeyUsageOID.SERVER_AUTH,
            validity_days,
        )

    def issue_client(self, service: str, *, validity_days: int = 397) -> tuple[str, str]:
        """A certificate by which a service of ours shows itself to others; chain and key, PEM.

        `service` is the path of its SPIFFE ID; the last segment is the common name.

        It is the server CA's, which whoever trusts our listeners trusts already, and for clients
        only: neither a device's nor a listener's certificate can stand in for it.
        """
        name = f"spiffe://{self._trust_domain}/{service}"
        return self._own(
            f"Link Identity {service.rpartition('/')[2]}",
            [x509.UniformResourceIdentifier(name)],
            ExtendedKeyUsageOID.CLIENT_AUTH,
            validity_days,
        )

    def _own(
        self,
        common_name: str,
        names: Sequence[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        validity_days: int,
    ) -> tuple[str, str]:
        """Chain and fresh key, PEM, of a certificate for ourselves."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._servers.sign(
            key.public_key(),
            now=self._clock.now(),
            subject=[(NameOID.COMMON_NAME, common_name)],
            names=names,
            usages=[usage],
            validity_days=validity_days,
        )
        chain = certificate.public_bytes(Encoding.PEM).decode() + self._servers.certificate_pem()
        key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return chain, key_pem.decode()


def new_device_ca(number: int, now: datetime) -> bytes:
    """Key and certificate, PEM, of a device CA to come; told from the others by its name, too, as
    those who look for a CRL find it by the issuer's name."""
    return Authority.generate(f"Link Identity device CA {number}", now).to_pem()


def _blocks(pem: bytes, count: int) -> list[bytes]:
    blocks = [found.group(0) for found in _PEM_BLOCK.finditer(pem)]
    if len(blocks) != count or b"".join(blocks) != pem:
        raise PlatformCAUnusable("expected pairs of private key and certificate")
    return blocks
