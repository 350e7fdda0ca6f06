"""Certificates by which OAuth clients prove who they are (RFC 8705 §2).

The handshake has shown that the client holds the key, that the certificate has not run out, and
that somebody whom some client registered signed it. Whose it is, is looked at here: each client is
held to what it registered itself, so that one tenant's CA says nothing of another's client.
"""

from collections.abc import Sequence
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from domain.errors import Invalid
from domain.oauth_client import ClientMetadata, TlsSubject
from infrastructure.tokens.anchors import anchor

PEM_MAX = 8192


class RegisteredCertificates:
    """`application.ports.ClientCertificates`."""

    def check(self, pems: Sequence[str]) -> tuple[str, ...]:
        return tuple(_checked(pem) for pem in pems)

    def belongs(self, der: bytes, metadata: ClientMetadata) -> bool:
        registered = [
            x509.load_pem_x509_certificate(pem.encode()) for pem in metadata.tls_certificates
        ]
        if metadata.auth_method == "self_signed_tls_client_auth":
            return der in [each.public_bytes(Encoding.DER) for each in registered]
        if metadata.auth_method != "tls_client_auth" or metadata.tls_subject is None:
            return False
        try:
            shown = x509.load_der_x509_certificate(der)
            named = _names(shown, metadata.tls_subject)
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
            return False
        return named and any(_signed(shown, by) for by in registered)


def _checked(pem: str) -> str:
    if len(pem) > PEM_MAX:
        raise Invalid("client_keys_invalid", f"PEM of at most {PEM_MAX} characters in each entry")
    try:
        return anchor(pem)
    except ValueError as error:
        raise Invalid(
            "client_keys_invalid", "one readable certificate in each entry, and nothing beside it"
        ) from error


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _names(certificate: x509.Certificate, subject: TlsSubject) -> bool:
    """Raises ValueError for a registered name that is none of its kind."""
    if subject.kind == "subject_dn":
        return certificate.subject == x509.Name.from_rfc4514_string(subject.value)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    match subject.kind:
        case "san_dns":
            return subject.value.lower() in [
                name.lower() for name in names.get_values_for_type(x509.DNSName)
            ]
        case "san_uri":
            return subject.value in names.get_values_for_type(x509.UniformResourceIdentifier)
        case "san_ip":
            return ip_address(subject.value) in names.get_values_for_type(x509.IPAddress)
