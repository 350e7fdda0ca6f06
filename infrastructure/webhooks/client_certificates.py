"""Reads the certificate that a tenant's CA made of our request, and what it brought along.

Whether the CA is any good is the tenant's own matter, since only its own servers will be shown it.
What is refused is what a server would refuse, or what would be weak.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from domain.errors import Invalid, Malformed
from domain.webhook_identity import Presented

CHARACTERS_MAX: Final = 32 * 1024
CERTIFICATES_MAX: Final = 5
RSA_BITS_MIN: Final = 2048
EC_BITS_MIN: Final = 256
LEFT_MIN: Final = timedelta(days=1)
CLOCK_SKEW: Final = timedelta(minutes=5)

_UNREADABLE: Final = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_WITHOUT_HASH: Final = (SignatureAlgorithmOID.ED25519, SignatureAlgorithmOID.ED448)


class X509ClientCertificates:
    """`application.ports.webhooks.ClientCertificateReader`."""

    def read(self, pem: str, now: datetime) -> Presented:
        chain = _parsed(pem)
        leaf = chain[0]
        for below, above in pairwise(chain):
            _issued(below, above)
        for each in chain:
            _strong(each)
            _valid(each, now)
        _for_a_client(leaf)
        spki = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return Presented(
            chain_pem="".join(each.public_bytes(Encoding.PEM).decode() for each in chain),
            fingerprint_sha256=leaf.fingerprint(hashes.SHA256()).hex(),
            spki_sha256=hashlib.sha256(spki).hexdigest(),
            not_before=leaf.not_valid_before_utc,
            not_after=leaf.not_valid_after_utc,
        )


def _parsed(pem: str) -> Sequence[x509.Certificate]:
    if len(pem) > CHARACTERS_MAX or not pem.isascii():
        raise Malformed("certificate_invalid", f"PEM of at most {CHARACTERS_MAX} characters")
    if "PRIVATE KEY" in pem:
        raise Malformed("certificate_invalid", "never send a private key")
    if not 1 <= pem.count("-----BEGIN ") <= CERTIFICATES_MAX:
        raise Malformed("certificate_invalid", f"send 1 to {CERTIFICATES_MAX} certificates")
    try:
        chain = x509.load_pem_x509_certificates(pem.encode())
        for each in chain:
            _ = each.public_key(), each.extensions  # read when asked for, and not before
    except _UNREADABLE as error:
        raise Malformed("certificate_invalid", "the PEM holds nothing that can be read") from error
    if len(chain) != pem.count("-----BEGIN "):
        raise Malformed("certificate_invalid", "send certificates and nothing else")
    return chain


def _issued(below: x509.Certificate, above: x509.Certificate) -> None:
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise Invalid(
            "certificate_unsuitable", "put each certificate before that of its issuer"
        ) from error
    if not _is_ca(above):
        raise Invalid("certificate_unsuitable", "an issuer in the chain is no CA")


def _strong(certificate: x509.Certificate) -> None:
    key = certificate.public_key()
    match key:
        case rsa.RSAPublicKey():
            good = key.key_size >= RSA_BITS_MIN
        case ec.EllipticCurvePublicKey():
            good = key.curve.key_size >= EC_BITS_MIN
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            good = True
        case _:
            good = False
    # Who signed a self-signed certificate is not asked: it is trusted, or not, by itself.
    if not good or not (certificate.issuer == certificate.subject or _strongly_signed(certificate)):
        raise Invalid("certificate_unsuitable", "a key or a signature in it is too weak")


def _strongly_signed(certificate: x509.Certificate) -> bool:
    if certificate.signature_algorithm_oid in _WITHOUT_HASH:
        return True
    try:
        return isinstance(certificate.signature_hash_algorithm, _HASHES)
    except UnsupportedAlgorithm:
        return False


def _valid(certificate: x509.Certificate, now: datetime) -> None:
    if certificate.not_valid_before_utc > now + CLOCK_SKEW:
        raise Invalid("certificate_unsuitable", "it is not valid yet")
    if certificate.not_valid_after_utc < now + LEFT_MIN:
        raise Invalid("certificate_unsuitable", "it has run out, or will within a day")


def _for_a_client(leaf: x509.Certificate) -> None:
    if _is_ca(leaf):
        raise Invalid("certificate_unsuitable", "it is the certificate of a CA")
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
        raise Invalid("certificate_unsuitable", "it is not for clients (EKU clientAuth)")


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return constraints.value.ca
