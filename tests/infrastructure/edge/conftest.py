"""An edge on either event loop, and a workshop that makes devices for it."""

import asyncio
import ssl
from collections.abc import Generator
from pathlib import Path

import pytest
import uvloop

from infrastructure.edge.protocol import Limits
from infrastructure.fleet.platform_ca import PlatformCA
from tests.infrastructure.edge.pki import Device, Workshop, new_ca
from tests.infrastructure.edge.serving import LoopFactory, RunningEdge, client_context

LOOPS: dict[str, LoopFactory] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.fixture(params=list(LOOPS))
def loop_factory(request: pytest.FixtureRequest) -> LoopFactory:
    return LOOPS[request.param]


@pytest.fixture(scope="session")
def ca() -> PlatformCA:
    return new_ca()


@pytest.fixture
def workshop(ca: PlatformCA, tmp_path: Path) -> Workshop:
    (tmp_path / "server-ca.pem").write_text(ca.ca_bundle_pem())
    return Workshop(tmp_path, ca)


@pytest.fixture
def device(workshop: Workshop) -> Device:
    return workshop.device()


@pytest.fixture
def limits() -> Limits:
    """Overridden where a test is about one of them."""
    return Limits()


@pytest.fixture
def edge(ca: PlatformCA, loop_factory: LoopFactory, limits: Limits) -> Generator[RunningEdge]:
    with RunningEdge(ca, loop_factory=loop_factory, limits=limits) as running:
        yield running
        assert running.loop_errors == []


@pytest.fixture
def device_context(ca: PlatformCA, device: Device) -> ssl.SSLContext:
    """A client that shows the certificate of `device`."""
    context = client_context(ca)
    context.load_cert_chain(device.certificate, device.key)
    return context
