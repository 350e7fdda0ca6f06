"""A revoked certificate is refused at all three doors: handshake, resumption, open connection."""

import asyncio
import ssl
from collections.abc import Callable
from http.client import HTTPSConnection
from pathlib import Path

import httpx
import pytest

from infrastructure.edge.peer import PeerCertificate, read_peer_certificate
from infrastructure.edge.protocol import Limits
from infrastructure.edge.revocations import RevokedCertificates, fingerprint_bytes
from infrastructure.edge.tls import DeviceHandshake, DeviceTls
from infrastructure.fleet.platform_ca import PlatformCA
from tests.infrastructure.edge.loopback import Wired
from tests.infrastructure.edge.pki import Device, Workshop, new_ca, run
from tests.infrastructure.edge.serving import (
    LoopFactory,
    RunningEdge,
    client_context,
)

REQUEST = b"GET /session HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n"


def test_a_new_handshake_is_refused(
    edge: RunningEdge, device: Device, device_context: ssl.SSLContext
) -> None:
    assert httpx.get(edge.device_url, verify=device_context).status_code == 200
    edge.call(edge.revocations.revoked, [device.fingerprint])
    with pytest.raises(httpx.TransportError):
        httpx.get(edge.device_url, verify=device_context)
    assert len(edge.application.begun) == 1
    assert edge.call(lambda: edge.device_listener.connections) == 0


def test_another_device_does_not_notice(
    edge: RunningEdge, workshop: Workshop, device: Device, device_context: ssl.SSLContext
) -> None:
    with httpx.Client(verify=device_context) as client:
        client.get(edge.device_url)
        edge.call(edge.revocations.revoked, [workshop.device().fingerprint])
        client.get(edge.device_url)
        assert edge.call(edge.revocations.connections, fingerprint_bytes(device.fingerprint)) == 1


def test_an_open_connection_is_aborted_at_once(
    edge: RunningEdge, device: Device, device_context: ssl.SSLContext
) -> None:
    connection = HTTPSConnection("127.0.0.1", edge.device_port, context=device_context, timeout=10)
    connection.request("GET", "/")
    connection.getresponse().read()
    edge.call(edge.revocations.revoked, [device.fingerprint])
    assert was_ended(connection)
    connection.close()
    edge.wait_until(lambda: edge.device_listener.connections == 0)


def was_ended(connection: HTTPSConnection) -> bool:
    """Whether the server ends it within the connection's time-out; raises TimeoutError if not."""
    try:
        return connection.sock.recv(1) == b""
    except (ConnectionError, ssl.SSLError):
        return True


def test_the_answer_to_a_running_request_goes_nowhere(
    edge: RunningEdge, device: Device, device_context: ssl.SSLContext
) -> None:
    connection = HTTPSConnection("127.0.0.1", edge.device_port, context=device_context, timeout=30)
    connection.request("GET", "/hold")
    edge.wait_until(lambda: edge.application.begun == ["/hold"])
    edge.call(edge.revocations.revoked, [device.fingerprint])
    edge.call(edge.application.release.set)
    with pytest.raises((ConnectionError, ssl.SSLError)):
        connection.getresponse()
    connection.close()


def s_client(edge: RunningEdge, device: Device, folder: Path, *more: str | Path) -> str:
    done = run(
        *("openssl", "s_client", "-connect", f"127.0.0.1:{edge.device_port}", "-ign_eof"),
        *("-cert", device.certificate, "-key", device.key),
        *("-CAfile", folder / "server-ca.pem"),
        *more,
        text=REQUEST,
    )
    return done.stdout.decode()


def as_it_is(_tls: DeviceTls) -> None:
    """Nothing is planted."""


def with_tickets(tls: DeviceTls) -> None:
    """The planted fault: sessions can be resumed."""
    tls.listening.num_tickets = 2
    tls.listening.options &= ~ssl.OP_NO_TICKET


def with_tickets_and_no_check_on_resumption(tls: DeviceTls) -> None:
    """The planted fault as it stands in the wild: only a full handshake is looked at."""
    with_tickets(tls)
    checked = tls.listening.sslobject_class
    assert issubclass(checked, DeviceHandshake)
    registry = checked.revocations

    class Trusting(DeviceHandshake):
        revocations = registry

        def _admit(self) -> PeerCertificate:
            der = self.getpeercert(binary_form=True)
            if self.session_reused and der is not None:
                return read_peer_certificate(der)
            return super()._admit()

    tls.listening.sslobject_class = Trusting


def test_no_session_is_handed_out_to_be_resumed(
    edge: RunningEdge, device: Device, workshop: Workshop
) -> None:
    session = workshop.folder / "session"
    assert device.fingerprint in s_client(edge, device, workshop.folder, "-sess_out", session)
    assert not session.exists()


@pytest.mark.parametrize(
    ("planted", "resumed"),
    [(with_tickets, False), (with_tickets_and_no_check_on_resumption, True)],
)
def test_a_resumed_session_does_not_get_around_the_check(
    ca: PlatformCA,
    loop_factory: LoopFactory,
    workshop: Workshop,
    planted: Callable[[DeviceTls], None],
    resumed: bool,
) -> None:
    """Tickets are put back on, so that a session can be resumed at all; the check still holds.

    The second case takes the check out as well, and the revoked device is served.
    """
    device, session = workshop.device(), workshop.folder / "session"
    with RunningEdge(
        ca,
        loop_factory=loop_factory,
        limits=Limits(),
        planted=planted,
        protocol_revocations=RevokedCertificates(),
    ) as edge:
        s_client(edge, device, workshop.folder, "-sess_out", session)
        again = s_client(edge, device, workshop.folder, "-sess_in", session)
        assert "Reused, TLSv1.3" in again
        assert device.fingerprint in again

        edge.call(edge.revocations.revoked, [device.fingerprint])
        in_full = s_client(edge, device, workshop.folder)
        assert device.fingerprint not in in_full
        after = s_client(edge, device, workshop.folder, "-sess_in", session)
        assert "Reused, TLSv1.3" in after
        assert (device.fingerprint in after) is resumed


def test_a_session_of_an_authority_that_was_taken_away_is_not_resumed(
    ca: PlatformCA, loop_factory: LoopFactory, workshop: Workshop
) -> None:
    """Why tickets are off: with them on, OpenSSL serves a device whose CA is trusted no more."""
    device, session = workshop.device(), workshop.folder / "session"
    served: dict[str, bool] = {}
    for name, planted in (("tickets", with_tickets), ("ours", as_it_is)):
        session.unlink(missing_ok=True)
        with RunningEdge(ca, loop_factory=loop_factory, limits=Limits(), planted=planted) as edge:
            s_client(edge, device, workshop.folder, "-sess_out", session)
            edge.call(edge.tls.trust, new_ca().device_ca_pem())
            resuming: list[str | Path] = ["-sess_in", session] if session.exists() else []
            answer = s_client(edge, device, workshop.folder, *resuming)
            served[name] = device.fingerprint in answer
    assert served == {"tickets": True, "ours": False}


class ForgetfulRegistry(RevokedCertificates):
    """The planted fault: it remembers, and does not tell the connections."""

    def revoked(self, fingerprints: object) -> None:
        del fingerprints

    def denies(self, fingerprint: bytes, authority: bytes = b"") -> bool:
        del fingerprint, authority
        return False


@pytest.mark.parametrize("forgetful", [False, True], ids=["ours", "planted"])
async def test_not_one_request_is_begun_after_the_revocation_returns(
    ca: PlatformCA, loop_factory: LoopFactory, workshop: Workshop, forgetful: bool
) -> None:
    """Fifty connections of one device send as fast as they can while it is revoked."""
    device = workshop.device()
    context = client_context(ca)
    context.load_cert_chain(device.certificate, device.key)
    registry = ForgetfulRegistry() if forgetful else None
    with RunningEdge(
        ca, loop_factory=loop_factory, limits=Limits(), protocol_revocations=registry
    ) as edge:
        deciding = registry or edge.revocations
        begun_at_revocation: list[int] = []

        def revoke_in_the_thick_of_it(_path: str) -> None:
            begun = len(edge.application.begun)
            if begun == 500:
                deciding.revoked([device.fingerprint])
                begun_at_revocation.append(begun)

        edge.application.on_begin = revoke_in_the_thick_of_it
        await asyncio.gather(
            *(keep_asking(edge.device_port, context) for _ in range(50)),
        )
        begun_after = edge.call(lambda: len(edge.application.begun)) - begun_at_revocation[0]
        assert (begun_after > 0) is forgetful


async def keep_asking(port: int, context: ssl.SSLContext) -> None:
    """Forty requests on one connection, or fewer when the server ends it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        for _ in range(40):
            writer.write(b"GET / HTTP/1.1\r\nHost: edge\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
    except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("checked", [True, False], ids=["ours", "planted"])
async def test_a_request_that_was_read_but_not_begun_is_not_begun_any_more(
    ca: PlatformCA, checked: bool
) -> None:
    """The request's task exists, has not run yet, and the revocation comes first."""
    fingerprint = f"{7:064x}"
    wired = Wired(ca, fingerprint)
    if not checked:
        wired.protocol.app = wired.application
    wired.protocol.data_received(b"GET /late HTTP/1.1\r\nHost: edge\r\n\r\n")
    wired.revocations.revoked([fingerprint])
    await asyncio.gather(*wired.state.tasks)

    assert wired.application.begun == ([] if checked else ["/late"])
    assert wired.transport.aborted
    assert wired.state.connections == set()
    assert wired.revocations.connections(fingerprint_bytes(fingerprint)) == 0


async def test_what_arrives_on_a_connection_that_is_closing_is_not_begun(ca: PlatformCA) -> None:
    """asyncio hands on what it had received when `close` was called; nobody could answer it."""
    wired = Wired(ca, f"{7:064x}")
    wired.transport.close()
    wired.protocol.data_received(b"GET /late HTTP/1.1\r\nHost: edge\r\n\r\n")
    assert wired.state.tasks == set()
    await wired.transport.lost.wait()
    assert wired.application.begun == []


def test_the_device_protocol_serves_nobody_without_the_tls_of_the_device_listener(
    ca: PlatformCA, device: Device, device_context: ssl.SSLContext, loop_factory: LoopFactory
) -> None:
    def ordinary_tls(tls: DeviceTls) -> None:
        tls.listening.sslobject_class = ssl.SSLObject

    with RunningEdge(ca, loop_factory=loop_factory, limits=Limits(), planted=ordinary_tls) as edge:
        with pytest.raises(httpx.TransportError):
            httpx.get(edge.device_url, verify=device_context)
        assert edge.application.begun == []
