"""A tenant's own CA, as it would sign the platform's requests."""

import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)


class TenantCA:
    """Signs a request with whatever a test wants to be wrong. `key_bits` makes an RSA key."""

    def __init__(self, name: str = "Tenant CA", key_bits: int | None = None) -> None:
        self._key: Any = (
            ec.generate_private_key(ec.SECP256R1())
            if key_bits is None
            else rsa.generate_private_key(65537, key_bits)
        )
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        built = self._builder(self._name, self._key.public_key(), 0, 3650)
        self._certificate = built.add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        ).sign(self._key, hashes.SHA256())
        self.pem = self._certificate.public_bytes(Encoding.PEM).decode()

    def _builder(
        self, subject: x509.Name, key: Any, begins_in_days: int, days: int
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=begins_in_days, minutes=-1))
            .not_valid_after(now + datetime.timedelta(days=days))
        )

    def signed(
        self,
        csr_pem: str,
        *,
        days: int = 90,
        begins_in_days: int = 0,
        usages: tuple[x509.ObjectIdentifier, ...] = CLIENT,
        ca: bool = False,
    ) -> str:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        built = self._builder(csr.subject, csr.public_key(), begins_in_days, days)
        built = built.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        if usages:
            built = built.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        certificate = built.sign(self._key, hashes.SHA256())
        return certificate.public_bytes(Encoding.PEM).decode()
