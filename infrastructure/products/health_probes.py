"""Asks counterparts whether they are there: over connections that no transaction uses."""

from typing import Final, Protocol

from application.ports import Clock
from application.ports.health import Probed
from infrastructure.outbound.client import OutboundFailed
from infrastructure.products.linked_service_gateway import Requests

DEADLINE_S: Final = 2.0
ANSWER_BYTES_MAX: Final = 16 * 1024


class Vendor(Protocol):
    async def probe(self, *, deadline_s: float) -> Probed: ...


class HttpHealthProbes:
    """`HealthProbes`. `client` and `vendor` are the monitor's own, guard and all."""

    def __init__(self, client: Requests, vendor: Vendor, clock: Clock) -> None:
        self._client = client
        self._vendor = vendor
        self._clock = clock

    async def product(self, url: str) -> Probed:
        """GET, and 2xx is healthy (004 §10.7); there are no redirects, and no body is read into."""
        began = self._clock.monotonic()
        try:
            answer = await self._client.request(
                "GET",
                url,
                headers={"User-Agent": "link-identity-health/1"},
                body=b"",
                deadline_s=DEADLINE_S,
                max_bytes=ANSWER_BYTES_MAX,
            )
        except OutboundFailed as failed:
            reason = failed.kind if failed.status is None else f"status_{failed.status}"
        else:
            reason = "" if 200 <= answer.status <= 299 else f"status_{answer.status}"
        latency_s = self._clock.monotonic() - began
        return Probed(healthy=not reason, latency_s=latency_s, reason=reason)

    async def palm_vendor(self) -> Probed:
        return await self._vendor.probe(deadline_s=DEADLINE_S)
