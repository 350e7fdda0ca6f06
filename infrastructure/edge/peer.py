"""What we read from a device's certificate once its chain has been verified."""

import hashlib

import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID


class PeerCertificateRefused(Exception):
    """The chain is good, but the certificate is not one for a client of ours."""


class PeerCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """`fingerprint` is SHA-256 over DER, 32 bytes; `san_uris` is every URI SAN, as it stands;
    `authority` is the key identifier of who signed it, empty where it names none."""

    fingerprint: bytes
    san_uris: tuple[str, ...]
    authority: bytes = b""


def read_peer_certificate(der: bytes) -> PeerCertificate:
    """Fingerprint and names of a verified leaf.

    OpenSSL refuses an extended key usage without clientAuth, and accepts a certificate that has
    no such extension at all (RFC 5280 §4.2.1.12 leaves it unrestricted); we do not. Whether the
    names are ours is the caller's question. Raises PeerCertificateRefused.
    """
    try:
        extensions = x509.load_der_x509_certificate(der).extensions
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise PeerCertificateRefused(f"unreadable certificate: {error}") from error
    try:
        usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound as error:
        raise PeerCertificateRefused("no extended key usage") from error
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise PeerCertificateRefused("extended key usage without clientAuth")
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        san_uris: tuple[str, ...] = ()
    else:
        san_uris = tuple(names.get_values_for_type(x509.UniformResourceIdentifier))
    return PeerCertificate(
        fingerprint=hashlib.sha256(der).digest(),
        san_uris=san_uris,
        authority=_authority(extensions),
    )


def _authority(extensions: x509.Extensions) -> bytes:
    try:
        named = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        return b""
    return named.key_identifier or b""
