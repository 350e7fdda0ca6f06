"""The TLS of both listeners: who may shake hands, and what is refused during the handshake."""

import secrets
import ssl
import tempfile
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from infrastructure.edge.peer import (
    PeerCertificate,
    PeerCertificateRefused,
    read_peer_certificate,
)
from infrastructure.edge.revocations import RevokedCertificates

ALPN = ["http/1.1"]


class AlertingHandshake(ssl.SSLObject):
    """One connection's TLS state; who is refused is sent the alert that says why."""

    _failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            # asyncio and uvloop drop what OpenSSL still wants to send when a handshake fails,
            # and that is the alert which tells an installer why. Asking for more input makes
            # them send it; the failure is raised at the next step.
            self._failure = error
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "sending the alert") from error


class DeviceHandshake(AlertingHandshake):
    """Refuses a revoked certificate before any byte of HTTP.

    `peer` is set once the handshake is through, and only then. The check stands after OpenSSL's,
    on every path that OpenSSL calls a success, so a resumed session does not get around it.
    """

    revocations: ClassVar[RevokedCertificates]

    peer: PeerCertificate | None = None

    def do_handshake(self) -> None:
        super().do_handshake()
        self.peer = self._admit()

    def _admit(self) -> PeerCertificate:
        der = self.getpeercert(binary_form=True)
        if der is None:
            raise ssl.SSLCertVerificationError(1, "no device certificate")
        try:
            peer = read_peer_certificate(der)
        except PeerCertificateRefused as error:
            raise ssl.SSLCertVerificationError(1, str(error)) from error
        if self.revocations.denies(peer.fingerprint, peer.authority):
            raise ssl.SSLCertVerificationError(1, "device certificate revoked")
        return peer


class DeviceTls:
    """TLS of the device listener: 1.3 only, a certificate of our device CA or nothing.

    `listening` is the context to listen with. Which CAs are trusted and which certificate is shown
    is decided per handshake by the context that `trust` or `certify` made last, because a CA can be
    added to a context but never taken away. Only these two follow that swap; everything else must
    stand on `listening`.

    There are no session tickets: OpenSSL checks neither chain nor CA again when a session is
    resumed, and resuming saves the server nothing (reference edge.md §1).
    """

    def __init__(
        self,
        *,
        certificate_chain_pem: str,
        private_key_pem: str,
        device_cas_pem: str,
        revocations: RevokedCertificates,
    ) -> None:
        registry = revocations

        class Handshake(DeviceHandshake):
            """asyncio makes these from the class alone, so the registry stands on the class."""

            revocations = registry

        self._certificate = (certificate_chain_pem, private_key_pem)
        self._trusted = device_cas_pem
        self._present = self._context(device_cas_pem)
        self.listening = self._context(device_cas_pem)
        self.listening.sslobject_class = Handshake
        self.listening.sni_callback = self._use_present

    def trust(self, device_cas_pem: str) -> None:
        """From the next handshake on, exactly these CAs are trusted (one or more PEM blocks).

        Open connections stay; `RevokedCertificates.only` ends those of other CAs.
        """
        self._present = self._context(device_cas_pem)
        self._trusted = device_cas_pem

    def certify(self, certificate_chain_pem: str, private_key_pem: str) -> None:
        """From the next handshake on, this certificate is shown. Open connections stay."""
        self._certificate = (certificate_chain_pem, private_key_pem)
        self._present = self._context(self._trusted)

    def _use_present(
        self, tls: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        # OpenSSL calls this in every handshake, also when the client sends no server name.
        tls.context = self._present

    def _context(self, device_cas_pem: str) -> ssl.SSLContext:
        context = server_context(*self._certificate)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        context.load_verify_locations(cadata=device_cas_pem)
        return context


class PublicTls:
    """TLS of the public listener, as `public_context`, whose certificate changes under it.

    `listening` is the context to listen with; which certificate is shown is decided per handshake.
    """

    def __init__(self, *, certificate_chain_pem: str, private_key_pem: str) -> None:
        self.certify(certificate_chain_pem, private_key_pem)
        self.listening = self._present
        self.listening.sni_callback = self._use_present

    def certify(self, certificate_chain_pem: str, private_key_pem: str) -> None:
        """From the next handshake on, this certificate is shown. Open connections stay."""
        self._present = public_context(
            certificate_chain_pem=certificate_chain_pem, private_key_pem=private_key_pem
        )

    def _use_present(
        self, tls: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        tls.context = self._present


def public_context(*, certificate_chain_pem: str, private_key_pem: str) -> ssl.SSLContext:
    """TLS of the public listener: our certificate, TLS 1.2 or later, no client certificate."""
    context = server_context(certificate_chain_pem, private_key_pem)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def server_context(certificate_chain_pem: str, private_key_pem: str) -> ssl.SSLContext:
    """What all of our listeners have in common."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(ALPN)
    load_certificate(context, certificate_chain_pem, private_key_pem)
    return context


def load_certificate(context: ssl.SSLContext, chain_pem: str, key_pem: str) -> None:
    """The ssl module reads keys from files only, so the key passes through one, encrypted.

    The passphrase lives in this call: what a crash could leave behind opens nothing.
    """
    passphrase = secrets.token_bytes(32)
    sealed = load_pem_private_key(key_pem.encode(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase.hex().encode())
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "certificate.pem")
        file.write_bytes(chain_pem.encode() + sealed)
        context.load_cert_chain(file, password=passphrase.hex())
