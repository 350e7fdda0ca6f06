"""A device connection without sockets, for the moments between two turns of the event loop."""

import asyncio
import ssl

from uvicorn import Config

from infrastructure.edge.peer import PeerCertificate
from infrastructure.edge.protocol import DeviceProtocol, Limits, ListenerState
from infrastructure.edge.revocations import RevokedCertificates, fingerprint_bytes
from infrastructure.edge.tls import DeviceHandshake, DeviceTls
from infrastructure.fleet.platform_ca import PlatformCA
from tests.infrastructure.edge.serving import Application


class LoopbackTransport(asyncio.Transport):
    """A transport without a socket: `abort` loses the connection in the next turn of the loop."""

    def __init__(self, handshake: DeviceHandshake) -> None:
        super().__init__({"ssl_object": handshake, "sslcontext": handshake.context})
        self.protocol: asyncio.Protocol | None = None
        self.aborted = False
        self.lost = asyncio.Event()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.aborted

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if not self.aborted:
            self.aborted = True
            asyncio.get_running_loop().call_soon(self._lose)

    def _lose(self) -> None:
        assert self.protocol is not None
        self.protocol.connection_lost(None)
        self.lost.set()

    def pause_reading(self) -> None:
        """Nothing is read."""

    def resume_reading(self) -> None:
        """Nothing is read."""


class Wired:
    """A device protocol on a `LoopbackTransport`, its handshake done as `fingerprint`."""

    def __init__(self, ca: PlatformCA, fingerprint: str) -> None:
        self.application = Application()
        self.revocations = RevokedCertificates()
        self.state = ListenerState()
        config = Config(self.application, ws="none", lifespan="off", log_config=None)
        self.protocol = DeviceProtocol(config, self.state, {}, Limits(), self.revocations)
        self.transport = LoopbackTransport(finished_handshake(ca, self.revocations, fingerprint))
        self.transport.protocol = self.protocol
        self.protocol.connection_made(self.transport)


def finished_handshake(
    ca: PlatformCA, revocations: RevokedCertificates, fingerprint: str
) -> DeviceHandshake:
    chain, key = ca.issue_server(["localhost"])
    tls = DeviceTls(
        certificate_chain_pem=chain,
        private_key_pem=key,
        device_cas_pem=ca.device_ca_pem(),
        revocations=revocations,
    )
    handshake = tls.listening.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    assert isinstance(handshake, DeviceHandshake)
    handshake.peer = PeerCertificate(fingerprint=fingerprint_bytes(fingerprint), san_uris=())
    return handshake
