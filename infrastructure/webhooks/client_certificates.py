"""Reads the certificate that a tenant's CA made of our request, and what it brought along.

Whether the CA is any good is the tenant's own matter, since only its own servers will be shown it.
What is refused is what a server would refuse, or what would be weak.
"""

import hashlib
from datetime import datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from domain.errors import Invalid, Malformed
from domain.webhook_identity import Presented
from infrastructure.keys.certificate_chains import (
    ChainFault,
    check_order,
    check_strength,
    check_time,
    check_use,
    read_chain,
)


class X509ClientCertificates:
    """`application.ports.webhooks.ClientCertificateReader`."""

    def read(self, pem: str, now: datetime) -> Presented:
        try:
            chain = read_chain(pem)
        except ChainFault as fault:
            raise Malformed("certificate_invalid", fault.detail) from fault
        leaf = chain[0]
        try:
            check_order(chain)
            check_strength(chain)
            check_time(chain, now)
            check_use(
                leaf, ExtendedKeyUsageOID.CLIENT_AUTH, "clients (EKU clientAuth)", must_say=True
            )
        except ChainFault as fault:
            raise Invalid("certificate_unsuitable", fault.detail) from fault
        spki = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return Presented(
            chain_pem="".join(each.public_bytes(Encoding.PEM).decode() for each in chain),
            fingerprint_sha256=leaf.fingerprint(hashes.SHA256()).hex(),
            spki_sha256=hashlib.sha256(spki).hexdigest(),
            not_before=leaf.not_valid_before_utc,
            not_after=leaf.not_valid_after_utc,
        )
