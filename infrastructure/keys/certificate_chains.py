"""A chain of certificates that somebody brought, held against what can be held against it alone:
can it be read, is it in order, is it strong, is it good today, is it for this use (RFC 5280)."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import SignatureAlgorithmOID

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

Fault = Literal["unreadable", "order", "weak", "early", "ended", "authority", "usage"]


class ChainFault(Exception):
    """What is wrong with a chain; `detail` is a sentence for whoever brought it."""

    def __init__(self, fault: Fault, detail: str) -> None:
        self.fault: Fault = fault
        self.detail = detail
        super().__init__(detail)


def read_chain(pem: str) -> Sequence[x509.Certificate]:
    """The certificates of a text, the leaf first. Raises ChainFault (`unreadable`)."""
    if len(pem) > CHARACTERS_MAX or not pem.isascii():
        raise ChainFault("unreadable", f"PEM of at most {CHARACTERS_MAX} characters")
    if "PRIVATE KEY" in pem:
        raise ChainFault("unreadable", "never send a private key")
    if not 1 <= pem.count("-----BEGIN ") <= CERTIFICATES_MAX:
        raise ChainFault("unreadable", f"send 1 to {CERTIFICATES_MAX} certificates")
    try:
        chain = x509.load_pem_x509_certificates(pem.encode())
        for each in chain:
            _ = each.public_key(), each.extensions  # read when asked for, and not before
    except _UNREADABLE as error:
        raise ChainFault("unreadable", "the PEM holds nothing that can be read") from error
    if len(chain) != pem.count("-----BEGIN "):
        raise ChainFault("unreadable", "send certificates and nothing else")
    return chain


def check_order(chain: Sequence[x509.Certificate]) -> None:
    """Raises ChainFault (`order`)."""
    for below, above in pairwise(chain):
        try:
            below.verify_directly_issued_by(above)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
            raise ChainFault("order", "put each certificate before that of its issuer") from error
        if not is_authority(above):
            raise ChainFault("order", "an issuer in the chain is no CA")


def check_strength(chain: Sequence[x509.Certificate]) -> None:
    """Raises ChainFault (`weak`)."""
    for certificate in chain:
        # Who signed a self-signed certificate is not asked: it is trusted, or not, by itself.
        signed = is_self_signed(certificate) or _strongly_signed(certificate)
        if not (signed and _strong_key(certificate)):
            raise ChainFault("weak", "a key or a signature in it is too weak")


def check_time(chain: Sequence[x509.Certificate], now: datetime) -> None:
    """Raises ChainFault (`early`, `ended`)."""
    for certificate in chain:
        if certificate.not_valid_before_utc > now + CLOCK_SKEW:
            raise ChainFault("early", "it is not valid yet")
        if certificate.not_valid_after_utc < now + LEFT_MIN:
            raise ChainFault("ended", "it has run out, or will within a day")


def check_use(
    leaf: x509.Certificate, usage: x509.ObjectIdentifier, said: str, *, must_say: bool
) -> None:
    """Raises ChainFault (`authority`, `usage`); without `must_say` a leaf that says nothing is for
    any use, as RFC 5280 has it."""
    if is_authority(leaf):
        raise ChainFault("authority", "it is the certificate of a CA")
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        usages = None
    if must_say if usages is None else usage not in usages:
        raise ChainFault("usage", f"it is not for {said}")


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Whether it names itself as its issuer."""
    return certificate.issuer == certificate.subject


def is_authority(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return constraints.value.ca


def _strong_key(certificate: x509.Certificate) -> bool:
    key = certificate.public_key()
    match key:
        case rsa.RSAPublicKey():
            return key.key_size >= RSA_BITS_MIN
        case ec.EllipticCurvePublicKey():
            return key.curve.key_size >= EC_BITS_MIN
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return True
        case _:
            return False


def _strongly_signed(certificate: x509.Certificate) -> bool:
    if certificate.signature_algorithm_oid in _WITHOUT_HASH:
        return True
    try:
        return isinstance(certificate.signature_hash_algorithm, _HASHES)
    except UnsupportedAlgorithm:
        return False
