"""A listener of each kind shows another certificate from the next handshake on, and still trusts
whom it trusted."""

import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from infrastructure.clock import SystemClock
from infrastructure.edge.client_certificates import ClientTls
from infrastructure.edge.revocations import RevokedCertificates
from infrastructure.edge.tls import DeviceTls, PublicTls
from infrastructure.fleet.platform_ca import PlatformCA
from tests.builders import DEVICE
from tests.house.world import key_and_csr
from tests.spec import TENANT

Tls = PublicTls | ClientTls | DeviceTls


def public(ca: PlatformCA) -> Tls:
    chain, key = ca.issue_server(["localhost"])
    return PublicTls(certificate_chain_pem=chain, private_key_pem=key)


def clients(ca: PlatformCA) -> Tls:
    chain, key = ca.issue_server(["localhost"])
    tls = ClientTls(certificate_chain_pem=chain, private_key_pem=key)
    tls.trust(ca.device_ca_pem())
    return tls


def devices(ca: PlatformCA) -> Tls:
    chain, key = ca.issue_server(["localhost"])
    return DeviceTls(
        certificate_chain_pem=chain,
        private_key_pem=key,
        device_cas_pem=ca.device_ca_pem(),
        revocations=RevokedCertificates(),
    )


def shaken(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """The fingerprint that a client sees; both sides have finished, or ssl.SSLError is raised."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(10):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    ends[0].write(b"hello")
    assert ends[1].read(5) == b"hello"
    der = ends[0].getpeercert(binary_form=True)
    assert der is not None
    return hashlib.sha256(der).hexdigest()


@pytest.mark.parametrize("kind", [public, clients, devices])
def test_another_certificate_is_shown_from_the_next_handshake_on(
    kind: Callable[[PlatformCA], Tls], tmp_path: Path
) -> None:
    """Seen to fail with a listener whose context is not swapped, and with one that forgets whom it
    trusted as it is certified anew."""
    ca = PlatformCA.generate(trust_domain="link.example", clock=SystemClock())
    key, csr = key_and_csr()
    issued = ca.issue(csr, TENANT, DEVICE, validity_days=1)
    (tmp_path / "device.pem").write_text(issued.certificate_pem + issued.chain_pem)
    (tmp_path / "device.key").write_bytes(key)
    client = ssl.create_default_context(cadata=ca.ca_bundle_pem())
    client.load_cert_chain(tmp_path / "device.pem", tmp_path / "device.key")
    tls = kind(ca)
    before = shaken(tls.listening, client)
    assert shaken(tls.listening, client) == before
    tls.certify(*ca.issue_server(["localhost"]))
    after = shaken(tls.listening, client)
    assert after != before
    assert shaken(tls.listening, client) == after
