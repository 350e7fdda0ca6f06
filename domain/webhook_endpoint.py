"""WebhookEndpoint: where a tenant wants to be told of its events, and of which (001 §2).

Its secrets are never in the log. An endpoint that only fails for days is disabled by us; what it
missed stays in the outbox and can be replayed.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Annotated, ClassVar, Final, Literal

import msgspec

from domain.errors import Conflict, Invalid
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import TenantId, WebhookEndpointId

Mtls = Literal["platform_ca", "tenant_ca", "off"]
"""Which client certificate we show: one of the platform's CA, the one that the tenant's own CA
signed (`domain/webhook_identity.py`), or none."""

DisabledReason = Literal["sustained_failure", "gone"]

EVENT_TYPES_MAX: Final = 64
OVERLAP_MAX_S: Final = 7 * 86_400


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted where. `event_types` are webhook names (`projections/published.py`)."""

    url: Annotated[str, msgspec.Meta(max_length=512)]
    event_types: tuple[str, ...]
    mtls: Mtls = "platform_ca"


class WebhookEndpointRegistered(DomainEvent, frozen=True, kw_only=True):
    """The tenant is told of these events at this URL from now on."""

    NAME: ClassVar[str] = "webhook_endpoint.registered"
    subscription: Subscription


class WebhookEndpointChanged(DomainEvent, frozen=True, kw_only=True):
    """From here on the subscription is this, whole; `changed` names fields."""

    NAME: ClassVar[str] = "webhook_endpoint.changed"
    subscription: Subscription
    changed: tuple[str, ...]


class WebhookEndpointSecretRotated(DomainEvent, frozen=True, kw_only=True):
    """There is a new secret; until then the one before it signs too."""

    NAME: ClassVar[str] = "webhook_endpoint.secret_rotated"
    overlap_until: datetime


class WebhookEndpointTestRequested(DomainEvent, frozen=True, kw_only=True):
    """Somebody wants to see a message arrive; it is sent to this endpoint alone."""

    NAME: ClassVar[str] = "webhook_endpoint.test_requested"


class WebhookEndpointDisabled(DomainEvent, frozen=True, kw_only=True):
    """We stopped sending: nothing but failures for days, or the receiver said 410."""

    NAME: ClassVar[str] = "webhook_endpoint.disabled"
    reason: DisabledReason


class WebhookEndpointEnabled(DomainEvent, frozen=True, kw_only=True):
    """We send again."""

    NAME: ClassVar[str] = "webhook_endpoint.enabled"


class WebhookEndpointDeleted(DomainEvent, frozen=True, kw_only=True):
    """Nothing is sent there any more."""

    NAME: ClassVar[str] = "webhook_endpoint.deleted"


WebhookEndpointEvent = (
    WebhookEndpointRegistered
    | WebhookEndpointChanged
    | WebhookEndpointSecretRotated
    | WebhookEndpointTestRequested
    | WebhookEndpointDisabled
    | WebhookEndpointEnabled
    | WebhookEndpointDeleted
)


class WebhookEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """`registered` is what was first asked for, so that a repeat of that request is known.

    `enabled_at` is when it was last enabled again, None when it never was.
    """

    id: WebhookEndpointId
    tenant_id: TenantId
    version: int
    registered: Subscription
    subscription: Subscription
    overlap_until: datetime | None = None
    disabled: DisabledReason | None = None
    enabled_at: datetime | None = None
    deleted: bool = False

    @property
    def status(self) -> Literal["active", "disabled", "deleted"]:
        if self.deleted:
            return "deleted"
        return "active" if self.disabled is None else "disabled"


def register(
    endpoint: WebhookEndpoint | None, subscription: Subscription, known: Collection[str]
) -> list[WebhookEndpointEvent]:
    """The same registration again says nothing; another one under the same id is refused."""
    if endpoint is not None:
        if endpoint.registered != subscription:
            raise Invalid("idempotency_key_reused", "this key was used for another request")
        return []
    check_event_types(subscription, known)
    return [WebhookEndpointRegistered(subscription=subscription)]


def change(
    endpoint: WebhookEndpoint, subscription: Subscription, known: Collection[str]
) -> list[WebhookEndpointEvent]:
    check_event_types(subscription, known)
    changed = tuple(
        field
        for field in Subscription.__struct_fields__
        if getattr(subscription, field) != getattr(endpoint.subscription, field)
    )
    if not changed:
        return []
    return [WebhookEndpointChanged(subscription=subscription, changed=changed)]


def rotate_secret(
    endpoint: WebhookEndpoint, *, now: datetime, overlap_until: datetime, force: bool
) -> list[WebhookEndpointEvent]:
    """Raises Conflict (`rotation_open`) while an older secret is still good, unless forced."""
    before = endpoint.overlap_until
    if before is not None and before > now and not force:
        raise Conflict("rotation_open", "an older secret is still good; repeat with force")
    return [WebhookEndpointSecretRotated(overlap_until=overlap_until)]


def request_test(endpoint: WebhookEndpoint) -> list[WebhookEndpointEvent]:
    """Raises Conflict (`webhook_endpoint_disabled`)."""
    if endpoint.disabled is not None:
        raise Conflict("webhook_endpoint_disabled", "enable it first")
    return [WebhookEndpointTestRequested()]


def disable(endpoint: WebhookEndpoint | None, reason: DisabledReason) -> list[WebhookEndpointEvent]:
    if endpoint is None or endpoint.status != "active":
        return []
    return [WebhookEndpointDisabled(reason=reason)]


def enable(endpoint: WebhookEndpoint) -> list[WebhookEndpointEvent]:
    return [] if endpoint.disabled is None else [WebhookEndpointEnabled()]


def delete(endpoint: WebhookEndpoint) -> list[WebhookEndpointEvent]:
    return [] if endpoint.deleted else [WebhookEndpointDeleted()]


def check_event_types(subscription: Subscription, known: Collection[str]) -> None:
    """Raises Invalid (`event_types_invalid`)."""
    types = subscription.event_types
    unknown = sorted(set(types) - set(known))
    if unknown:
        raise Invalid("event_types_invalid", f"there is no {', '.join(unknown)}"[:300])
    if not types or len(set(types)) != len(types) or len(types) > EVENT_TYPES_MAX:
        raise Invalid("event_types_invalid", f"1 to {EVENT_TYPES_MAX} different types")


def evolve(endpoint: WebhookEndpoint | None, recorded: Recorded) -> WebhookEndpoint:
    event = recorded.event
    if isinstance(event, WebhookEndpointRegistered):
        return WebhookEndpoint(
            id=WebhookEndpointId(recorded.stream_id),
            tenant_id=recorded.tenant_id,
            version=recorded.version,
            registered=event.subscription,
            subscription=event.subscription,
        )
    if endpoint is None:
        raise UnexpectedEvent(event)
    replace = msgspec.structs.replace
    endpoint = replace(endpoint, version=recorded.version)
    match event:
        case WebhookEndpointChanged():
            return replace(endpoint, subscription=event.subscription)
        case WebhookEndpointSecretRotated():
            return replace(endpoint, overlap_until=event.overlap_until)
        case WebhookEndpointTestRequested():
            return endpoint
        case WebhookEndpointDisabled():
            return replace(endpoint, disabled=event.reason)
        case WebhookEndpointEnabled():
            return replace(endpoint, disabled=None, enabled_at=recorded.recorded_at)
        case WebhookEndpointDeleted():
            return replace(endpoint, deleted=True)
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> WebhookEndpoint | None:
    return fold(evolve, past)
