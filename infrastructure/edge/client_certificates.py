"""The listener for OAuth clients with certificates (RFC 8705): TLS, and what a request says of it.

OpenSSL wants to verify what a client shows, so it is given all that clients have registered: CAs,
and certificates that sign themselves. Whose a certificate is, is decided for each client apart
(`infrastructure/tokens/client_certificates.py`).
"""

import asyncio
import base64
import hashlib
import ssl
from typing import Any

from uvicorn import Config

from infrastructure.edge.protocol import HttpProtocol, Limits, ListenerState
from infrastructure.edge.tls import AlertingHandshake, server_context


class ClientTls:
    """A certificate that some client registered, or one by a CA that one did; or no connection.

    As in `DeviceTls`, whom to trust and what to show follow a context that is swapped in each
    handshake, and there are no tickets.
    """

    def __init__(self, *, certificate_chain_pem: str, private_key_pem: str) -> None:
        self._certificate = (certificate_chain_pem, private_key_pem)
        self._trusted = ""
        self._present = self._context("")
        self.listening = self._context("")
        self.listening.sslobject_class = AlertingHandshake
        self.listening.sni_callback = self._use_present

    def trust(self, certificates_pem: str) -> None:
        """From the next handshake on, these are trusted."""
        self._present = self._context(certificates_pem)
        self._trusted = certificates_pem

    def certify(self, certificate_chain_pem: str, private_key_pem: str) -> None:
        """From the next handshake on, this certificate is shown. Open connections stay."""
        self._certificate = (certificate_chain_pem, private_key_pem)
        self._present = self._context(self._trusted)

    def _use_present(
        self, tls: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        tls.context = self._present

    def _context(self, certificates_pem: str) -> ssl.SSLContext:
        context = server_context(*self._certificate)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        # A registered certificate is an anchor itself, whoever signed it (RFC 8705 §2.2).
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        if certificates_pem:
            context.load_verify_locations(cadata=certificates_pem)
        return context


class ClientProtocol(HttpProtocol):
    """Every request's scope carries `extensions["client_certificate"]`: `der`, and `thumbprint`,
    which is `x5t#S256` of RFC 8705 §3.1."""

    _shown: dict[object, object]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        handshake = self.transport.get_extra_info("ssl_object")
        der = None if handshake is None else handshake.getpeercert(True)
        if der is None:
            self.transport.abort()
            raise RuntimeError("the client protocol needs the TLS context of its listener")
        digest = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
        self._shown = {"der": der, "thumbprint": digest}

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"client_certificate": self._shown}


def client_protocol(
    config: Config, state: ListenerState, app_state: dict[str, Any], limits: Limits
) -> HttpProtocol:
    """The `http_protocol` of this listener."""
    return ClientProtocol(config, state, app_state, limits)
