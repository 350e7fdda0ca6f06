"""Outbound clients for tests: allowed on loopback, and quick to make."""

import ssl

from infrastructure.outbound.client import IDLE_S, PIN_S, OutboundClient
from infrastructure.outbound.egress import EgressGuard, Resolver, SystemResolver

TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Made once: loading the system's authorities for each client takes longer than most tests."""


def loopback_client(
    resolver: Resolver | None = None,
    *,
    tls: ssl.SSLContext = TRUSTS_NOBODY,
    connections_max: int = 1000,
    pin_s: float = PIN_S,
    idle_s: float = IDLE_S,
) -> OutboundClient:
    return OutboundClient(
        EgressGuard([], True, resolver or SystemResolver()),
        tls=tls,
        connections_max=connections_max,
        pin_s=pin_s,
        idle_s=idle_s,
    )
