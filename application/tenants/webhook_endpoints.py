"""Webhook endpoint commands: register, change, rotate, test, enable, delete (reference broker.md
§3.9)."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final, Protocol
from uuid import UUID, uuid5

from application.execute import Done, execute, stream_of
from application.permissions import Permission, require
from application.ports import Clock, EgressPolicy, EventLog, IdSource
from application.ports.deliveries import event_id
from application.ports.webhooks import WebhookSecrets
from application.principals import Caller, Manager
from domain import tenant as t
from domain import webhook_endpoint as w
from domain import webhook_identity as wi
from domain.errors import Conflict, Invalid, NotFound, PreconditionFailed
from domain.ids import TenantId, WebhookEndpointId, webhook_identity_id

KIND: Final = "webhook"
"""The name of the kind of delivery."""

ENDPOINTS_MAX: Final = 20
"""Of a tenant, disabled ones included: each event may be owed to every one of them."""

_rebuild: Final = stream_of(w.WebhookEndpointRegistered, w.rebuild)


class EndpointCount(Protocol):
    async def count(self, tenant_id: TenantId) -> int:
        """How many endpoints the tenant has that are not deleted. Raises Unavailable."""
        ...


class WebhookEndpoints:
    """`types` maps every webhook name to the permission that reading such things needs: nobody
    is told by webhook what they may not read."""

    def __init__(
        self,
        log: EventLog,
        egress: EgressPolicy,
        secrets: WebhookSecrets,
        types: Mapping[str, Permission],
        registered: EndpointCount,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._egress = egress
        self._secrets = secrets
        self._types = types
        self._registered = registered
        self._clock = clock
        self._ids = ids

    async def register(
        self, caller: Manager, subscription: w.Subscription, key: str | None
    ) -> tuple[w.WebhookEndpoint, str | None, Done]:
        """The endpoint and its secret, which a repeat of the request does not show again.

        Raises Invalid (`event_types_invalid`, `mtls_required`, `webhook_certificate_missing`,
        `url_forbidden` and kin),
        Forbidden (`insufficient_scope`), Conflict (`too_many_webhook_endpoints`). Requests of the
        same instant may pass that limit together.
        """
        await self._check(caller, subscription)
        command_id = caller.command("webhook_endpoint.register", key, self._ids.uuid())
        endpoint_id = WebhookEndpointId(
            uuid5(command_id, "webhook_endpoint") if key is not None else self._ids.uuid()
        )
        past = _rebuild(await self._log.load(caller.tenant_id, endpoint_id))
        w.register(past, subscription, self._types)
        if past is None and await self._registered.count(caller.tenant_id) >= ENDPOINTS_MAX:
            raise Conflict("too_many_webhook_endpoints", f"there may be {ENDPOINTS_MAX}")
        # Before the endpoint exists, so that there is never one without a secret.
        secret = await self._secrets.first(caller.tenant_id, endpoint_id)
        done = await execute(
            self._log,
            caller.origin(command_id),
            caller.tenant_id,
            endpoint_id,
            _rebuild,
            lambda endpoint: w.register(endpoint, subscription, self._types),
        )
        return await self.get(caller.tenant_id, endpoint_id), secret, done

    async def get(self, tenant_id: TenantId, endpoint_id: UUID) -> w.WebhookEndpoint:
        """Raises NotFound for another tenant's, an unknown and a deleted endpoint alike."""
        return _present(_rebuild(await self._log.load(tenant_id, endpoint_id)))

    async def change(
        self,
        caller: Manager,
        endpoint_id: UUID,
        if_version: int | None,
        change: Callable[[w.Subscription], w.Subscription],
    ) -> tuple[w.WebhookEndpoint, Done]:
        """Raises PreconditionFailed when it is not at `if_version`, and what `register` raises."""
        before = await self.get(caller.tenant_id, endpoint_id)
        await self._check(caller, change(before.subscription))
        done = await self._execute(
            caller,
            endpoint_id,
            if_version,
            lambda endpoint: w.change(endpoint, change(endpoint.subscription), self._types),
        )
        return await self.get(caller.tenant_id, endpoint_id), done

    async def rotate_secret(
        self, caller: Caller, endpoint_id: UUID, *, overlap_s: int, force: bool
    ) -> tuple[w.WebhookEndpoint, str, Done]:
        """Raises Conflict (`rotation_open`)."""
        now = self._clock.now()
        until = now + timedelta(seconds=overlap_s)

        def decide(endpoint: w.WebhookEndpoint) -> list[w.WebhookEndpointEvent]:
            return w.rotate_secret(endpoint, now=now, overlap_until=until, force=force)

        # Recorded first: of two that rotate at once, one is refused before it makes a secret.
        done = await self._execute(caller, endpoint_id, None, decide)
        secret = await self._secrets.rotate(
            caller.tenant_id, WebhookEndpointId(endpoint_id), overlap_s=overlap_s
        )
        return await self.get(caller.tenant_id, endpoint_id), secret, done

    async def request_test(self, caller: Caller, endpoint_id: UUID) -> tuple[UUID, Done]:
        """The public id of the event that is sent. Raises Conflict."""
        done = await self._execute(caller, endpoint_id, None, w.request_test)
        return event_id(endpoint_id, done.stream_version), done

    async def enable(self, caller: Caller, endpoint_id: UUID) -> tuple[w.WebhookEndpoint, Done]:
        done = await self._execute(caller, endpoint_id, None, w.enable)
        return await self.get(caller.tenant_id, endpoint_id), done

    async def delete(self, caller: Caller, endpoint_id: UUID, if_version: int | None) -> Done:
        return await self._execute(caller, endpoint_id, if_version, w.delete)

    async def disable(
        self, caller: Caller, endpoint_id: UUID, reason: w.DisabledReason, command_id: UUID
    ) -> None:
        """Stop sending there; a repeat, and an endpoint that is gone, is no matter."""
        await execute(
            self._log,
            caller.origin(command_id),
            caller.tenant_id,
            endpoint_id,
            _rebuild,
            lambda endpoint: w.disable(endpoint, reason),
        )

    async def _check(self, caller: Manager, subscription: w.Subscription) -> None:
        w.check_event_types(subscription, self._types)
        for name in subscription.event_types:
            require(caller, self._types[name])
        tenant = t.rebuild(await self._log.load(caller.tenant_id, caller.tenant_id))
        required = tenant is None or tenant.settings.webhook_mtls_required
        if subscription.mtls == "off" and required:
            raise Invalid("mtls_required", "the tenant's webhooks are sent over mutual TLS")
        if subscription.mtls == "tenant_ca":
            await self._check_certificate(caller.tenant_id)
        await self._egress.check(subscription.url)

    async def _check_certificate(self, tenant_id: TenantId) -> None:
        identity = wi.rebuild(await self._log.load(tenant_id, webhook_identity_id(tenant_id)))
        if identity is None or identity.presented(self._clock.now()) is None:
            raise Invalid(
                "webhook_certificate_missing", "no certificate of the tenant's own CA is good now"
            )

    async def _execute(
        self,
        caller: Caller,
        endpoint_id: UUID,
        if_version: int | None,
        decide: Callable[[w.WebhookEndpoint], Sequence[w.WebhookEndpointEvent]],
    ) -> Done:
        def decided(found: w.WebhookEndpoint | None) -> Sequence[w.WebhookEndpointEvent]:
            endpoint = _present(found)
            if if_version is not None and endpoint.version != if_version:
                raise PreconditionFailed("version_mismatch", f"current is {endpoint.version}")
            return decide(endpoint)

        origin = caller.origin(self._ids.uuid())
        return await execute(self._log, origin, caller.tenant_id, endpoint_id, _rebuild, decided)


def _present(endpoint: w.WebhookEndpoint | None) -> w.WebhookEndpoint:
    if endpoint is None or endpoint.deleted:
        raise NotFound("webhook_endpoint_not_found")
    return endpoint
