"""Keys of our own listeners: made here, kept sealed, certified by our CA or asked for by a CSR."""

import hashlib
import ssl
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from domain.errors import Invalid
from domain.server_certificate import Certificate, ServerCsrMade
from infrastructure.edge.tls import server_context
from infrastructure.fleet.authority import host_name
from infrastructure.fleet.platform_ca import PlatformCA
from infrastructure.keys.key_store import KeyStore

PURPOSE: Final = "server_certificate"
COMMON_NAME_MAX: Final = 64
"""What RFC 5280 (ub-common-name) allows."""


class SealedServerKeys:
    """`application.ports.server_certificates.ServerKeys` over sealed key material."""

    def __init__(self, store: KeyStore, authority: PlatformCA) -> None:
        self._store = store
        self._authority = authority

    async def request(self, names: Sequence[str], *, above: int) -> ServerCsrMade:
        number, pem = await self._store.next(PURPOSE, lambda _: _new_key(), above=above)
        key = load_pem_private_key(pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey), "it was made here"
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return ServerCsrMade(
            key=number,
            csr_pem=_request(key, names),
            spki_sha256=hashlib.sha256(spki).hexdigest(),
            names=tuple(names),
        )

    async def issue(self, names: Sequence[str], *, above: int) -> Certificate:
        chain, pem = self._authority.issue_server(names)
        number, _ = await self._store.next(PURPOSE, lambda _: pem.encode(), above=above)
        leaf = x509.load_pem_x509_certificates(chain.encode())[0]
        return Certificate(
            source="platform",
            key=number,
            chain_pem=chain,
            fingerprint_sha256=leaf.fingerprint(hashes.SHA256()).hex(),
            names=tuple(names),
            not_before=leaf.not_valid_before_utc,
            not_after=leaf.not_valid_after_utc,
        )

    async def check(self, number: int, chain_pem: str) -> None:
        key_pem = await self.private_key(number)
        try:
            server_context(chain_pem, key_pem)
        except ssl.SSLError as error:
            raise Invalid("certificate_weak", f"OpenSSL says {error.reason}") from error

    async def private_key(self, number: int) -> str:
        """PKCS#8 in PEM. Raises LookupError, KeyringUnusable, psycopg.Error."""
        return (await self._store.read_one(PURPOSE, number)).decode()


def _new_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _request(key: ec.EllipticCurvePrivateKey, names: Sequence[str]) -> str:
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, names[0][:COMMON_NAME_MAX])]
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name(subject))
        .add_extension(
            x509.SubjectAlternativeName([host_name(each) for each in names]), critical=False
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
        .decode()
    )
