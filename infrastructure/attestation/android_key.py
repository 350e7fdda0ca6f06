"""Android Key Attestation: a chain of certificates in which hardware vouches for a key.

The rules are those of Google's own verifier (github.com/android/keyattestation), which takes chains
that a path validation after RFC 5280 would not: the root is known by its name and key, the validity
of the key's own certificate is by the device's clock and is not looked at, that of the others is.
Only the key's own certificate may describe a key: who has an attested key could sign another
certificate with it, which would describe what he likes.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from application.ports import Clock
from domain.attestation import Attestation, refused
from infrastructure.attestation import key_description
from infrastructure.attestation.key_description import GENERATED, OID, SIGN, KeyDescription
from infrastructure.attestation.status_list import StatusList

CHAIN: Final = range(3, 7)
"""Certificates: the key's, who attests it, those between, the root. Five are the most today."""

CHARACTERS_MAX: Final = 8192
"""Of one certificate."""

_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


class AndroidKeyAttestations:
    """`application.ports.attestation.KeyAttestations`, for chains to one of these roots.

    Without a status list nobody is known to be revoked.
    """

    def __init__(
        self, roots: Sequence[x509.Certificate], status: StatusList | None, clock: Clock
    ) -> None:
        self._roots = roots
        self._status = status
        self._clock = clock

    def verify(self, chain: Sequence[str], *, challenge: bytes, spki_sha256: str) -> Attestation:
        if len(chain) not in CHAIN:
            raise refused(
                "chain_invalid", f"a chain has {CHAIN.start} to {CHAIN.stop - 1} certificates"
            )
        certificates = [_certificate(each) for each in chain]
        leaf = certificates[0]
        if _spki_sha256(leaf) != spki_sha256:
            raise refused("key_mismatch", "another key is attested than that of the request")
        self._check_path(certificates)
        described = _described(certificates)
        _check_key(described, challenge)
        serials = [each.serial_number for each in certificates]
        if self._status is not None and self._status.revoked(serials):
            raise refused("revoked", "somebody in the chain may not vouch any more")
        return Attestation(
            level=described.level,
            boot=described.boot,
            locked=described.locked,
            patch_level=described.patch_level,
            serials=tuple(f"{each:x}" for each in serials[1:-1]),
        )

    def _check_path(self, certificates: Sequence[x509.Certificate]) -> None:
        """From the root down, so that no key is used before somebody trusted has signed it."""
        *below, last = certificates
        issuers = [
            root
            for root in self._roots
            if root.subject == last.subject and root.public_key() == last.public_key()
        ]
        if not issuers or last.issuer != last.subject:
            raise refused("root_unknown", "the chain ends at no root that is trusted here")
        now = self._clock.now()
        issuer = issuers[0]
        for certificate in reversed(below):
            _check_signed(certificate, issuer)
            if certificate is not certificates[0]:
                _check_times(certificate, now)
            issuer = certificate


def _certificate(pem: str) -> x509.Certificate:
    """One PEM block and nothing else."""
    text = pem.strip()
    alone = text.startswith(_BEGIN) and text.endswith(_END) and text.count("-----BEGIN ") == 1
    if not alone or not text.isascii() or len(pem) > CHARACTERS_MAX:
        raise refused("chain_invalid", "each element is one PEM block: CERTIFICATE")
    try:
        certificate = x509.load_pem_x509_certificate(text.encode())
        certificate.public_key()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise refused("chain_invalid", "a PEM block holds no readable certificate") from error
    return certificate


def _spki_sha256(certificate: x509.Certificate) -> str:
    """As a request's key is digested: encoded anew."""
    key = certificate.public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def _check_authorities(extensions: Sequence[x509.Extensions]) -> None:
    """Old chains have certificates that do not say whether they may sign others; none says no."""
    for found in extensions:
        for each in found:
            if isinstance(each.value, x509.BasicConstraints) and not each.value.ca:
                raise refused("chain_invalid", "a certificate that may sign none has signed one")


def _check_signed(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        strong = isinstance(certificate.signature_hash_algorithm, _HASHES)
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise refused("signature_invalid", "a certificate is not signed by the next") from error
    if not strong:
        raise refused("signature_invalid", "a certificate is signed over a weak hash")


def _check_times(certificate: x509.Certificate, now: datetime) -> None:
    if now > certificate.not_valid_after_utc:
        raise refused("expired", "a certificate of the chain has run out")
    if now < certificate.not_valid_before_utc:
        raise refused("not_yet_valid", "a certificate of the chain is not valid yet")


def _described(certificates: Sequence[x509.Certificate]) -> KeyDescription:
    """Read from the certificate that is nearest to the root: it must be the key's own."""
    try:
        extensions = [each.extensions for each in certificates]
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise refused("chain_invalid", "a certificate has unreadable extensions") from error
    describing = [
        number for number, found in enumerate(extensions) if any(each.oid == OID for each in found)
    ]
    if not describing:
        raise refused("not_attested", "no certificate of the chain describes a key")
    if describing != [0]:
        raise refused("chain_extended", "a certificate above the key's own describes a key")
    _check_authorities(extensions[1:])
    value = extensions[0].get_extension_for_oid(OID).value
    assert isinstance(value, x509.UnrecognizedExtension), "the library does not know it"
    try:
        return key_description.read(value.value)
    except key_description.Unreadable as error:
        raise refused("description_invalid", "the key's description is unreadable") from error


def _check_key(described: KeyDescription, challenge: bytes) -> None:
    if described.challenge != challenge:
        raise refused("challenge_mismatch", "the key was attested for something else")
    if described.origin != GENERATED:
        raise refused("not_generated", "the key was not made where it is")
    if SIGN not in described.purposes:
        raise refused("purpose_missing", "the key may not sign")
    if described.level != "software" and not described.has_root_of_trust:
        raise refused("root_of_trust_missing", "the hardware says nothing of the system")
