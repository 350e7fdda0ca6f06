"""Signatures that a device made with the key of its certificate."""

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa


class CertificateSignatures:
    """`application.ports.DeviceSignatures`: ECDSA, or RSA PKCS#1 v1.5, over SHA-256."""

    def verify(self, certificate_pem: str, message: bytes, signature: bytes) -> bool:
        key = x509.load_pem_x509_certificate(certificate_pem.encode()).public_key()
        try:
            if isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
            elif isinstance(key, rsa.RSAPublicKey):
                key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
            else:
                return False
        except InvalidSignature:
            return False
        return True
