"""How a webhook goes out: with the tenant's client certificate, one of our own CA's, or none.

A connection is kept for reuse only by the client that opened it, and a client has one certificate.
So no tenant's message ever goes over a connection that shows another tenant.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final, Protocol

from application.ports import Clock, EventLog
from domain import webhook_identity as w
from domain.ids import TenantId, webhook_identity_id
from domain.spiffe import webhooks_path
from domain.webhook_endpoint import Mtls
from infrastructure.edge.tls import load_certificate
from infrastructure.outbound.client import OutboundClient
from infrastructure.outbound.egress import EgressGuard
from infrastructure.outbound.trust import system_trust_and
from infrastructure.products.linked_service_gateway import Requests
from infrastructure.webhooks.keys import PostgresWebhookKeys

KEPT_MAX: Final = 256
CONNECTIONS_MAX: Final = 100
ANEW_AFTER: Final = timedelta(days=1)
VALIDITY_DAYS: Final = 30
"""Of a certificate of the platform's CA, which lives in this process alone."""


class NoClientCertificate(Exception):
    """The tenant's CA has signed nothing that is good now."""


class Authority(Protocol):
    """The part of `PlatformCA` that is used here."""

    def issue_client(self, service: str, *, validity_days: int = ...) -> tuple[str, str]: ...

    def ca_bundle_pem(self) -> str: ...


class _Client:
    def __init__(self, outbound: OutboundClient, name: str, until: datetime) -> None:
        self.outbound = outbound
        self.name = name
        self.until = until
        self.under_way = 0


class WebhookClients:
    """`infrastructure.webhooks.kind.Clients`; one per process. `plain` shows no certificate."""

    def __init__(
        self,
        guard: EgressGuard,
        authority: Authority,
        log: EventLog,
        keys: PostgresWebhookKeys,
        clock: Clock,
        plain: Requests,
        kept_max: int = KEPT_MAX,
    ) -> None:
        self._guard = guard
        self._authority = authority
        self._log = log
        self._keys = keys
        self._clock = clock
        self._plain = plain
        self._kept_max = kept_max
        self._kept: OrderedDict[tuple[TenantId, Mtls], _Client] = OrderedDict()
        self._retired: set[_Client] = set()
        self._making = asyncio.Lock()

    @asynccontextmanager
    async def to(self, tenant_id: TenantId, mtls: Mtls) -> AsyncGenerator[Requests]:
        """A client to send one request with. Raises NoClientCertificate, what the log raises."""
        if mtls == "off":
            yield self._plain
            return
        client = await self._client(tenant_id, mtls)
        client.under_way += 1
        try:
            yield client.outbound
        finally:
            client.under_way -= 1
            await self._end_retired()

    async def close(self) -> None:
        """End every connection; requests under way fail as `connect`."""
        self._retired.update(self._kept.values())
        self._kept.clear()
        for client in self._retired:
            await client.outbound.close()
        self._retired.clear()

    async def _client(self, tenant_id: TenantId, mtls: Mtls) -> _Client:
        now = self._clock.now()
        brought = None if mtls == "platform_ca" else await self._brought(tenant_id, now)
        name = "" if brought is None else brought.fingerprint_sha256
        async with self._making:
            found = self._kept.get((tenant_id, mtls))
            if found is None or found.name != name or found.until <= now:
                # Whoever sends over the old one goes on; connections of its are not used again.
                if found is not None:
                    self._retired.add(found)
                outbound = await self._outbound(tenant_id, brought)
                found = self._kept[(tenant_id, mtls)] = _Client(outbound, name, now + ANEW_AFTER)
            self._kept.move_to_end((tenant_id, mtls))
            if len(self._kept) > self._kept_max:
                self._retired.add(self._kept.popitem(last=False)[1])
        return found

    async def _brought(self, tenant_id: TenantId, now: datetime) -> w.Certificate:
        identity = w.rebuild(await self._log.load(tenant_id, webhook_identity_id(tenant_id)))
        brought = None if identity is None else identity.presented(now)
        if brought is None:
            raise NoClientCertificate
        return brought

    async def _outbound(self, tenant_id: TenantId, brought: w.Certificate | None) -> OutboundClient:
        if brought is None:
            chain, key = self._authority.issue_client(
                webhooks_path(tenant_id), validity_days=VALIDITY_DAYS
            )
        else:
            chain = brought.chain_pem
            key = await self._keys.private_key(tenant_id, brought.key_id)
        # The system's CAs are many: read them beside the loop.
        tls = await asyncio.to_thread(system_trust_and, self._authority.ca_bundle_pem())
        load_certificate(tls, chain, key)
        return OutboundClient(self._guard, tls=tls, connections_max=CONNECTIONS_MAX)

    async def _end_retired(self) -> None:
        for client in [each for each in self._retired if not each.under_way]:
            self._retired.discard(client)
            await client.outbound.close()
