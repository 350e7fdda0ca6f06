"""How requests are read from a connection: bounded, without headers that pretend to be a peer."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Final, cast

import msgspec
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from infrastructure.edge.answers import AnswerTransport
from infrastructure.edge.peer import PeerCertificate
from infrastructure.edge.revocations import RevokedCertificates
from infrastructure.edge.tls import DeviceHandshake

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

PEER_HEADERS: Final = (
    b"client-cert",
    b"x-client-cert",
    b"x-forwarded-client-cert",
    b"x-forwarded-tls-client-cert",
    b"x-ssl-",
    b"ssl-client-",
    b"x-arr-clientcert",
    b"x-amzn-mtls-",
)
"""Beginnings of the headers by which TLS terminators hand on a client certificate (RFC 9440 and
the habits of Envoy, nginx, Traefik and the clouds). We terminate TLS ourselves, so whoever sends
one is pretending; `_` counts as `-`, as it does behind servers with CGI manners."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how large a client may be, in seconds and bytes."""

    handshake_s: float = 5.0
    head_s: float = 10.0
    """From the connection, or from the first byte of a later request, to the end of its head."""
    body_s: float = 30.0
    keep_alive_s: int = 75
    head_bytes: int = 16 * 1024
    """Request line and headers; also the most that a client may send which is nothing yet."""
    connections_max: int = 8192
    """How many may be open at a time; whoever comes beyond is told to come again and let go."""
    discarded_bytes: int = 4 * 1024 * 1024
    """How much of a body is taken in after its answer has been given; then the connection goes.

    More than any body that is served, so that whoever sends a little too much gets the answer: a
    connection closed on a client that is still sending may cost it what we said (RFC 9112 §9.6).
    """


class ListenerState(ServerState):
    """What the connections of one listener share."""

    def __init__(self) -> None:
        super().__init__()
        self.draining = False
        self.all_closed = asyncio.Event()
        """Set whenever the last open connection goes."""


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with limits on time and size, and no forged client certificates.

    uvicorn limits how long a connection may idle between requests, and nothing else: a client
    that sends a head byte by byte, or none at all, would stay for ever. The scope of a request
    carries `extensions["answer"]`, whose `handed_over` says what became of its answer.
    """

    def __init__(
        self, config: Config, state: ListenerState, app_state: dict[str, Any], limits: Limits
    ) -> None:
        super().__init__(config, state, app_state)
        self._state = state
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None
        self._in_head = False
        self._in_body = False
        self._head_bytes = 0
        self._discarded_bytes = 0
        self._unclaimed_bytes = 0
        """Received since the parser last made something of it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        if self._state.draining:
            transport.close()
        elif len(self.connections) > self._limits.connections_max:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "retry-after: 1\r\n")
        else:
            self._expect_within(self._limits.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)
        if not self.connections:
            self._state.all_closed.set()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._unclaimed_bytes += len(data)
        super().data_received(data)
        if self._unclaimed_bytes > self._limits.head_bytes and not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large")
        if self.transport.is_closing():
            self._expect_nothing()
        elif self._deadline is None and self._in_body:
            self._expect_within(self._limits.body_s)
        elif self._deadline is None and (self._in_head or self._unclaimed_bytes):
            self._expect_within(self._limits.head_s)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (uvicorn's signature)
        """What uvicorn calls when its parser, or one of the callbacks below, gives up."""
        if self._head_bytes > self._limits.head_bytes:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large")
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, "malformed_http")

    def on_message_begin(self) -> None:
        self._in_head = True
        self._head_bytes = self._discarded_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._head_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # A trailer: among the headers it could contradict them (RFC 9110 §6.5.1).
        self._head_bytes += len(name) + len(value)
        if not name.lower().replace(b"_", b"-").startswith(PEER_HEADERS):
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._head_bytes > self._limits.head_bytes:
            raise ValueError("the head of the request is too large")
        self._in_head, self._in_body = False, True
        self._unclaimed_bytes = 0
        self._expect_nothing()
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before and self.scope["method"] != "HEAD":
            answer = self.cycle.transport = AnswerTransport(self.transport, self.cycle)
            cast("Scope", self.scope).setdefault("extensions", {})["answer"] = answer

    def on_body(self, body: bytes) -> None:
        self._unclaimed_bytes = 0
        if self.cycle.response_complete:
            self._discarded_bytes += len(body)
            if self._discarded_bytes > self._limits.discarded_bytes:
                self.transport.close()
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        self._unclaimed_bytes = 0
        self._expect_nothing()
        super().on_message_complete()

    def _answering(self) -> bool:
        """Whether a request has reached the application and its answer is not out yet."""
        return bool(self.cycle) and not self.cycle.response_complete

    def _expect_within(self, seconds: float) -> None:
        self._expect_nothing()
        self._deadline = self.loop.call_later(seconds, self._too_slow)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._answering() and not self._in_body:
            return  # What is late is only the next request; the keep-alive limit is for that.
        self.transport.close()

    def _refuse(self, status: HTTPStatus, code: str, headers: str = "") -> None:
        """Answer for the listener itself (RFC 9457) and close; never into another's answer."""
        if not self._answering():
            problem = {"type": "about:blank", "status": status.value, "title": status.phrase}
            body = json.dumps(problem | {"code": code, "error": code}).encode()
            self.transport.write(
                f"HTTP/1.1 {status.value} {status.phrase}\r\n"
                "content-type: application/problem+json\r\n"
                f"content-length: {len(body)}\r\n{headers}"
                "connection: close\r\n\r\n".encode()
                + body
            )
        self.transport.close()


class DeviceProtocol(HttpProtocol):
    """A connection whose peer has shown a device certificate; listens on `DeviceTls.listening`.

    Every request's scope carries `extensions["tls"]`: `fingerprint` (SHA-256 over DER, hex),
    `san_uris` (every URI SAN of the certificate) and `tls_version`. The names are as the
    certificate has them; what they mean is for `domain.spiffe` to read.
    """

    _peer: PeerCertificate | None = None

    def __init__(
        self,
        config: Config,
        state: ListenerState,
        app_state: dict[str, Any],
        limits: Limits,
        revocations: RevokedCertificates,
    ) -> None:
        super().__init__(config, state, app_state, limits)
        self._revocations = revocations
        self._served: ASGIApp = self.app
        self.app = self._serve_unless_revoked

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        handshake = self.transport.get_extra_info("ssl_object")
        if not isinstance(handshake, DeviceHandshake) or handshake.peer is None:
            self.transport.abort()
            raise RuntimeError("the device protocol needs the TLS context of the device listener")
        self._peer = handshake.peer
        self._tls: dict[object, object] = {
            "fingerprint": self._peer.fingerprint.hex(),
            "san_uris": self._peer.san_uris,
            "tls_version": handshake.version(),
        }
        self._revocations.opened(self._peer.fingerprint, self.transport, self._peer.authority)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._peer is not None:
            self._revocations.closed(self._peer.fingerprint, self.transport)
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"tls": self._tls}

    async def _serve_unless_revoked(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask once more at the last moment before the application sees the request.

        Between its arrival and this call a request waits for its task, or behind others that
        were sent ahead of it on the same connection; a revocation may fall into that time.
        """
        peer = self._peer
        if peer is None or self._revocations.denies(peer.fingerprint, peer.authority):
            self.transport.abort()
            while (await receive())["type"] != "http.disconnect":
                continue
            return
        await self._served(scope, receive, send)
