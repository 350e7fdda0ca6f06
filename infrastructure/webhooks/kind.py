"""The kind of delivery `webhook`: who is told of an event, and one try to tell them.

How answers are read follows Standard Webhooks 1.0: 2xx is an acknowledgement, 410 disables the
endpoint, everything else fails and is tried again, 3xx included.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Final, Protocol
from uuid import uuid5

import msgspec

from application import trace
from application.ports import (
    Attempted,
    Clock,
    Dead,
    Delivered,
    Delivery,
    DeliveryPolicy,
    EventLog,
    Owed,
    RetryLater,
    Settlement,
    Streams,
    TenantMustWait,
    Waits,
)
from application.ports.deliveries import DAY_S
from application.ports.webhooks import WebhookSecrets
from application.principals import Caller
from application.tenants.webhook_endpoints import KIND, WebhookEndpoints
from domain import tenant as t
from domain import webhook_endpoint as w
from domain.errors import NotFound, Unavailable
from domain.events import DomainEvent, Recorded
from domain.ids import TenantId, WebhookEndpointId, wire
from infrastructure.outbound.client import OutboundFailed
from infrastructure.products.linked_service_gateway import Requests
from infrastructure.projections.reads import TenantReads
from infrastructure.webhooks.clients import NoClientCertificate
from infrastructure.webhooks.message import TEST_TYPE, body, signature, told_events, webhook_type
from projections import webhook_endpoints as view

ANSWER_BYTES_MAX: Final = 64 * 1024
DISABLED_AFTER: Final = timedelta(hours=72)
"""Of nothing but failures."""

POLICY: Final = DeliveryPolicy(
    deadline_s=15.0,
    delays_s=(5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, DAY_S),
    max_age_s=4 * DAY_S,
)


class Clients(Protocol):
    """How a request goes out: with which client certificate, or without one."""

    def to(self, tenant_id: TenantId, mtls: w.Mtls) -> AbstractAsyncContextManager[Requests]:
        """Raises NoClientCertificate when there is none to show."""
        ...


class Webhooks:
    """`DeliveryKind`. A destination is an endpoint; a lane is one stream at one endpoint."""

    name = KIND
    policy = POLICY

    def __init__(
        self,
        log: EventLog,
        streams: Streams,
        reads: TenantReads,
        endpoints: WebhookEndpoints,
        secrets: WebhookSecrets,
        clients: Clients,
        clock: Clock,
    ) -> None:
        self._log = log
        self._streams = streams
        self._reads = reads
        self._endpoints = endpoints
        self._secrets = secrets
        self._clients = clients
        self._clock = clock
        self.listens_to: tuple[type[DomainEvent], ...] = told_events()

    async def owed(self, events: Sequence[Recorded]) -> Sequence[Owed]:
        """Endpoints are asked for as they are now, or later: one that is gone is owed nothing.

        Raises Unavailable while the read model has not come so far, and TenantMustWait where it
        stands still for one of the tenants.
        """
        told = [each for each in events if webhook_type(each.event) is not None]
        if not told:
            return ()
        found: dict[TenantId, list[view.WebhookEndpointRow]] = {}
        for tenant_id in {each.tenant_id for each in told}:
            name, position = view.READ_MODEL.name, told[-1].position
            if not await self._reads.wait(tenant_id, name, position):
                if await self._reads.stands_still(tenant_id, name):
                    raise TenantMustWait("read_model_halted")
                raise Unavailable("position_not_reached", retry_after_s=1)
            async with self._reads.scope(tenant_id) as connection:
                found[tenant_id] = await view.whole(connection, tenant_id)
        return [
            Owed(
                event=each,
                destination=endpoint.endpoint_id,
                lane=uuid5(endpoint.endpoint_id, str(each.stream_id)),
                dead=None if endpoint.status == "active" else "endpoint_disabled",
            )
            for each in told
            for endpoint in found[each.tenant_id]
            if _wants(endpoint, each)
        ]

    async def attempt(self, delivery: Delivery) -> Attempted:
        tenant = await self._streams.state(delivery.tenant_id, delivery.tenant_id, t.rebuild)
        if tenant is None or tenant.status in ("deleting", "deleted"):
            return Dead("tenant_deleted")
        if tenant.status == "suspended":
            return Waits()
        try:
            endpoint = await self._endpoints.get(delivery.tenant_id, delivery.destination)
        except NotFound:
            return Dead("endpoint_deleted")
        if endpoint.status == "disabled":
            return Dead("endpoint_disabled")
        attempted = await self._send(endpoint, delivery)
        if attempted == Dead("gone", 410):
            await self._disable(delivery, "gone")
        since = delivery.failing_since
        if not isinstance(attempted, RetryLater) or since is None:
            return attempted
        if endpoint.enabled_at is not None and since < endpoint.enabled_at:
            # What failed before somebody enabled it again is forgiven.
            return msgspec.structs.replace(attempted, begins_run=True)
        if self._clock.now() - since < DISABLED_AFTER:
            return attempted
        await self._disable(delivery, "sustained_failure")
        return Dead("endpoint_disabled", attempted.status)

    async def settled(self, delivery: Delivery, settlement: Settlement) -> None:
        """The outbox keeps the book; nothing is appended for a message that arrived."""

    async def _send(self, endpoint: w.WebhookEndpoint, delivery: Delivery) -> Attempted:
        past = await self._log.load(delivery.tenant_id, delivery.event.stream_id)
        recorded = past[delivery.event.stream_version - 1]
        content = body(past, delivery.event.stream_version)
        keys = await self._secrets.good(delivery.tenant_id, WebhookEndpointId(endpoint.id))
        message_id = wire("evt", delivery.event.id)
        timestamp = int(self._clock.now().timestamp())
        try:
            async with self._clients.to(delivery.tenant_id, endpoint.subscription.mtls) as client:
                answer = await client.request(
                    "POST",
                    endpoint.subscription.url,
                    headers={
                        "Content-Type": "application/json",
                        "User-Agent": "link-identity-webhooks/1",
                        trace.HEADER: trace.traceparent(recorded.correlation_id),
                        "webhook-id": message_id,
                        "webhook-timestamp": str(timestamp),
                        "webhook-signature": signature(keys, message_id, timestamp, content),
                    },
                    body=content,
                    deadline_s=self.policy.deadline_s - 1,
                    max_bytes=ANSWER_BYTES_MAX,
                )
        except NoClientCertificate:
            return RetryLater("no_client_certificate")
        except OutboundFailed as failed:
            return RetryLater(failed.kind, failed.status)
        if 200 <= answer.status <= 299:
            return Delivered(answer.status)
        if answer.status == 410:
            return Dead("gone", 410)
        return RetryLater("refused", answer.status, _seconds(answer.headers.get("retry-after", "")))

    async def _disable(self, delivery: Delivery, reason: w.DisabledReason) -> None:
        caller = Caller(
            tenant_id=delivery.tenant_id, actor="system:webhooks", correlation_id=delivery.id
        )
        command_id = uuid5(delivery.id, f"disable:{delivery.attempt}")
        await self._endpoints.disable(caller, delivery.destination, reason, command_id)


def _wants(endpoint: view.WebhookEndpointRow, recorded: Recorded) -> bool:
    if webhook_type(recorded.event) == TEST_TYPE:
        return endpoint.endpoint_id == recorded.stream_id
    return (
        endpoint.position < recorded.position
        and endpoint.endpoint_id != recorded.stream_id
        and webhook_type(recorded.event) in endpoint.subscription.event_types
    )


def _seconds(text: str) -> float | None:
    """RFC 9110 §10.2.3 in its form of seconds; a date is left to our own back-off."""
    return float(text) if text.isascii() and text.isdecimal() and len(text) <= 6 else None
