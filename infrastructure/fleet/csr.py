"""A certificate request (PKCS#10, RFC 2986): read, held against our key policy, verified."""

import hashlib
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AttributeOID

from application.ports import CertificateRequest
from domain.errors import Malformed
from domain.tenant_settings import KeyType

CSR_CHARACTERS_MAX: Final = 16 * 1024
RSA_BITS: Final = range(3072, 8193)
"""Below is too weak; above, one signature check is a way to keep us busy."""

RSA_EXPONENTS: Final = range(65537, 2**32)

_LABELS: Final = ("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)

DeviceKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class VerifiedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The key of a request whose holder has proved to have it, and what the platform keeps."""

    key: DeviceKey
    request: CertificateRequest


def verified_request(csr_pem: str) -> VerifiedRequest:
    """Read one PEM block and nothing else; allow P-256, P-384 and RSA of 3072 to 8192 bits.

    Raises Malformed: `csr_invalid`, `key_policy_violation` or `csr_signature_invalid`. The key is
    judged before the signature: an odd key must not choose how long its check takes. Requests
    signed over MD5 or SHA-1 count as not signed.
    """
    csr = _parsed(csr_pem)
    key = _allowed_key(csr)
    if not _signed_by_its_key(csr):
        raise Malformed("csr_signature_invalid", "the request is not signed by its own key")
    # The key is encoded anew, so that it has one digest whichever way its point was written.
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    request = CertificateRequest(
        csr_sha256=hashlib.sha256(csr.public_bytes(Encoding.DER)).hexdigest(),
        spki_sha256=hashlib.sha256(spki).hexdigest(),
        key_type=_key_type(key),
        challenge_password=_challenge_password(csr),
    )
    return VerifiedRequest(key=key, request=request)


def _parsed(csr_pem: str) -> x509.CertificateSigningRequest:
    if len(csr_pem) > CSR_CHARACTERS_MAX:
        raise Malformed("csr_invalid", f"a request has at most {CSR_CHARACTERS_MAX} characters")
    text = csr_pem.strip()
    framed = any(
        text.startswith(f"-----BEGIN {label}-----") and text.endswith(f"-----END {label}-----")
        for label in _LABELS
    )
    if not text.isascii() or not framed or text.count("-----BEGIN ") != 1:
        raise Malformed("csr_invalid", "send exactly one PEM block: CERTIFICATE REQUEST")
    try:
        return x509.load_pem_x509_csr(text.encode())
    except (ValueError, x509.InvalidVersion) as error:
        raise Malformed("csr_invalid", "the PEM block holds no certificate request") from error


def _allowed_key(csr: x509.CertificateSigningRequest) -> DeviceKey:
    try:
        key = csr.public_key()
    except UnsupportedAlgorithm as error:
        raise Malformed("key_policy_violation", "this kind of key is not allowed") from error
    except ValueError as error:
        raise Malformed("csr_invalid", "the request holds no usable public key") from error
    if isinstance(key, ec.EllipticCurvePublicKey):
        if isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
            return key
    elif isinstance(key, rsa.RSAPublicKey) and (
        key.key_size in RSA_BITS and key.public_numbers().e in RSA_EXPONENTS
    ):
        return key
    raise Malformed(
        "key_policy_violation", "use a P-256, a P-384 or an RSA key of 3072 to 8192 bits"
    )


def _key_type(key: DeviceKey) -> KeyType:
    if isinstance(key, rsa.RSAPublicKey):
        return "rsa"
    return "p256" if isinstance(key.curve, ec.SECP256R1) else "p384"


def _signed_by_its_key(csr: x509.CertificateSigningRequest) -> bool:
    try:
        return isinstance(csr.signature_hash_algorithm, _HASHES) and csr.is_signature_valid
    except (UnsupportedAlgorithm, ValueError, TypeError):
        # A signature algorithm that does not go with the key, or one that nobody knows.
        return False


def _challenge_password(csr: x509.CertificateSigningRequest) -> str | None:
    try:
        attribute = csr.attributes.get_attribute_for_oid(AttributeOID.CHALLENGE_PASSWORD)
        return attribute.value.decode()
    except x509.AttributeNotFound:
        return None
    except ValueError as error:
        raise Malformed("csr_invalid", "the request holds a malformed attribute") from error
