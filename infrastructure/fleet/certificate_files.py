"""A certificate and its key in files of the operator's, read again when they change."""

import hashlib
import ssl
from pathlib import Path

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from application.ports.server_certificates import Shown
from infrastructure.edge.tls import server_context
from infrastructure.fleet.server_chains import brought
from infrastructure.keys.certificate_chains import ChainFault

Signature = tuple[tuple[int, int, int], ...]


class CertificateFilesUnusable(Exception):
    """The files cannot be read, or what is in them is nothing to show."""


class LoadedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """`anchor_pem` is the root that stood at the chain's end, if one did."""

    shown: Shown
    anchor_pem: str | None
    key_pem: str


class CertificateFiles:
    """`read` when `changed` says so. A key that comes a moment after its certificate does no harm:
    until they belong together they are looked at again."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._seen: Signature | None = None

    def changed(self) -> bool:
        """Whether they are others than those that were read last."""
        return self._seen is None or self._signature() != self._seen

    def read(self) -> LoadedCertificate:
        """Raises CertificateFilesUnusable, which never quotes the key's file."""
        signature = self._signature()
        try:
            chain_pem = self._certificate.read_text("ascii")
            key_pem = self._key.read_bytes()
        except (OSError, UnicodeDecodeError) as error:
            raise CertificateFilesUnusable(
                f"{self._certificate} and {self._key}: {type(error).__name__}"
            ) from error
        loaded = _paired(chain_pem, key_pem)
        self._seen = signature
        return loaded

    def _signature(self) -> Signature:
        found: list[tuple[int, int, int]] = []
        for path in (self._certificate, self._key):
            try:
                stat = path.stat()
            except OSError:
                found.append((0, 0, 0))
            else:
                found.append((stat.st_ino, stat.st_mtime_ns, stat.st_size))
        return tuple(found)


def _paired(chain_pem: str, key_pem: bytes) -> LoadedCertificate:
    try:
        read = brought(chain_pem, None)
    except ChainFault as fault:
        raise CertificateFilesUnusable(f"the certificate's file: {fault.detail}") from fault
    try:
        key = load_pem_private_key(key_pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateFilesUnusable(
            "the key's file holds no private key in PEM, without a passphrase"
        ) from error
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if hashlib.sha256(spki).hexdigest() != read.spki_sha256:
        raise CertificateFilesUnusable("the key is not the certificate's")
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        server_context(read.chain_pem, plain.decode())
    except ssl.SSLError as error:
        raise CertificateFilesUnusable(f"OpenSSL will not have it: {error.reason}") from error
    shown = Shown(
        source="file",
        chain_pem=read.chain_pem,
        fingerprint_sha256=read.fingerprint_sha256,
        names=read.names,
        not_before=read.not_before,
        not_after=read.not_after,
    )
    return LoadedCertificate(shown=shown, anchor_pem=read.anchor_pem, key_pem=plain.decode())
