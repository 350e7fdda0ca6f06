"""Certificates that somebody gives us to trust, as they go into the log and into OpenSSL.

Two libraries read them: `cryptography` says what a certificate holds, OpenSSL verifies by it. Where
one reads what the other does not, a certificate that was taken would break every listener that
loads it; so both must take it, and what is kept is written by us.
"""

import re
import ssl
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

_ONE_BLOCK: Final = re.compile(
    r"\s*-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*", re.ASCII
)


def anchor(pem: str) -> str:
    """The one certificate of this text, in PEM of our own (RFC 7468).

    Raises ValueError for anything else, and for anything beside it.
    """
    if _ONE_BLOCK.fullmatch(pem) is None:
        raise ValueError("not one PEM block of a certificate")
    return rewritten(pem)


def rewritten(pem: str) -> str:
    """The first certificate of a text, in PEM of our own; what stands beside it is left out.

    Raises ValueError where either library cannot read it.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        certificate.public_key()
        canonical = certificate.public_bytes(Encoding.PEM).decode()
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=canonical)
    except (UnsupportedAlgorithm, x509.InvalidVersion, ssl.SSLError) as error:
        raise ValueError("a certificate that cannot be used") from error
    return canonical
