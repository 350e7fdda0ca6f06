"""Reads the chain that an operator brings for our listeners, over the API or in files."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from application.ports.server_certificates import CertificateFacts
from domain.errors import Invalid, Malformed
from domain.server_certificate import Brought
from infrastructure.keys.certificate_chains import (
    ChainFault,
    Fault,
    check_order,
    check_strength,
    check_time,
    check_use,
    is_self_signed,
    read_chain,
)

CODES: Final[Mapping[Fault, str]] = {
    "order": "certificate_chain_broken",
    "weak": "certificate_weak",
    "early": "certificate_not_valid_yet",
    "ended": "certificate_run_out",
    "authority": "certificate_of_a_ca",
    "usage": "certificate_not_for_servers",
}


class X509ServerCertificates:
    """`application.ports.server_certificates.ServerCertificateReader`."""

    def read(self, pem: str, now: datetime) -> Brought:
        try:
            return brought(pem, now)
        except ChainFault as fault:
            if fault.fault == "unreadable":
                raise Malformed("certificate_invalid", fault.detail) from fault
            raise Invalid(CODES[fault.fault], fault.detail) from fault

    def facts(self, chain_pem: str) -> CertificateFacts:
        leaf = read_chain(chain_pem)[0]
        return CertificateFacts(
            subject=leaf.subject.rfc4514_string(),
            issuer=leaf.issuer.rfc4514_string(),
            serial=f"{leaf.serial_number:x}",
            key=_kind(leaf),
        )


def brought(pem: str, now: datetime | None) -> Brought:
    """A chain that is in order and fit for a server. A root at its end is not shown: it is what
    devices are to be given. Without `now` it is not asked whether it is good today.

    Raises ChainFault.
    """
    chain = read_chain(pem)
    leaf, last = chain[0], chain[-1]
    check_order(chain)
    check_use(leaf, ExtendedKeyUsageOID.SERVER_AUTH, "servers (EKU serverAuth)", must_say=False)
    check_strength(chain)
    if now is not None:
        check_time(chain, now)
    rooted = is_self_signed(last)
    shown = chain[:-1] if rooted and len(chain) > 1 else chain
    spki = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Brought(
        chain_pem="".join(each.public_bytes(Encoding.PEM).decode() for each in shown),
        anchor_pem=last.public_bytes(Encoding.PEM).decode() if rooted else None,
        fingerprint_sha256=leaf.fingerprint(hashes.SHA256()).hex(),
        spki_sha256=hashlib.sha256(spki).hexdigest(),
        names=names_of(leaf),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
    )


def names_of(leaf: x509.Certificate) -> tuple[str, ...]:
    """Its DNS names and addresses; the common name counts for nothing (RFC 9525 §2)."""
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = found.get_values_for_type(x509.IPAddress)
    return (*found.get_values_for_type(x509.DNSName), *(str(each) for each in addresses))


def _kind(leaf: x509.Certificate) -> str:
    key = leaf.public_key()
    match key:
        case ec.EllipticCurvePublicKey():
            return key.curve.name
        case rsa.RSAPublicKey():
            return f"rsa{key.key_size}"
        case _:
            return type(key).__name__.removesuffix("PublicKey").lower()
