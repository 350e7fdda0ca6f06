"""The bodies of `/v1/webhook-endpoints`: requests, answers, and how answers are made."""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec

from application.ports import DeliveryRecord, Replayed
from domain.errors import Malformed
from domain.ids import parse, wire
from domain.webhook_endpoint import (
    OVERLAP_MAX_S,
    DisabledReason,
    Mtls,
    Subscription,
    WebhookEndpoint,
)
from projections import webhook_endpoints as view

PREFIX: Final = "whe"
EVENT_PREFIX: Final = "evt"

Url = Annotated[str, msgspec.Meta(min_length=8, max_length=512)]
EventTypes = Annotated[
    tuple[Annotated[str, msgspec.Meta(pattern="^[a-z0-9_.]{1,64}$")], ...],
    msgspec.Meta(min_length=1, max_length=64),
]


class NewWebhookEndpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where, of what, and which client certificate we show there."""

    url: Url
    event_types: EventTypes
    mtls: Mtls = "platform_ca"

    def subscription(self) -> Subscription:
        return Subscription(url=self.url, event_types=self.event_types, mtls=self.mtls)


class WebhookEndpointChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields to change; what is absent stays."""

    url: Url | msgspec.UnsetType = msgspec.UNSET
    event_types: EventTypes | msgspec.UnsetType = msgspec.UNSET
    mtls: Mtls | msgspec.UnsetType = msgspec.UNSET

    def apply(self, subscription: Subscription) -> Subscription:
        given = {
            name: value
            for name in Subscription.__struct_fields__
            if (value := getattr(self, name)) is not msgspec.UNSET
        }
        return msgspec.structs.replace(subscription, **given)


class SecretRotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For `overlap_s` seconds both secrets sign. `force` ends a rotation that is still open."""

    overlap_s: Annotated[int, msgspec.Meta(ge=0, le=OVERLAP_MAX_S)] = 86_400
    force: bool = False


class Replay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which messages to send again: those that fit all of this, whose sending is over."""

    event_id: Annotated[str, msgspec.Meta(pattern="^evt_[0-9a-f]{32}$")] | None = None
    since: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    until: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    failed_only: bool = False

    def which(self) -> Replayed:
        """Raises Malformed (`invalid_request`)."""
        event = None if self.event_id is None else parse(EVENT_PREFIX, self.event_id)
        if self.event_id is not None and event is None:
            raise Malformed("invalid_request", "an id of the form evt_… is wanted")
        return Replayed(
            event_id=event, since=self.since, until=self.until, failed_only=self.failed_only
        )


class WebhookEndpointShown(msgspec.Struct, frozen=True, kw_only=True):
    """`secret` is shown in the answer that made it, and never again."""

    id: str
    url: str
    event_types: tuple[str, ...]
    mtls: Mtls
    status: Literal["active", "disabled"]
    disabled_reason: DisabledReason | None
    overlap_until: datetime | None
    version: int
    secret: str | None = None


class WebhookEndpointPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[WebhookEndpointShown]
    next: str | None


class WebhookTestSent(msgspec.Struct, frozen=True, kw_only=True):
    """The message is on its way; look for this event among the deliveries."""

    event_id: str


class WebhookReplayed(msgspec.Struct, frozen=True, kw_only=True):
    """How many messages are sent again. At most 10,000 at once, the oldest first."""

    replayed: int


class WebhookTry(msgspec.Struct, frozen=True, kw_only=True):
    """One try. `outcome` is null while it runs, or when nobody could say."""

    attempt: int
    started_at: datetime
    finished_at: datetime | None
    outcome: Literal["delivered", "retry", "dead"] | None
    reason: str | None
    status: int | None


class WebhookDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one endpoint, and how its sending went. `due_at` is the next try's time."""

    event_id: str
    event: str
    state: Literal["pending", "delivered", "dead"]
    reason: str | None
    recorded_at: datetime
    due_at: datetime
    finished_at: datetime | None
    attempts: int
    tries: list[WebhookTry]


class WebhookDeliveryPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[WebhookDelivery]
    next: str | None


def shown(
    found: WebhookEndpoint | view.WebhookEndpointRow, secret: str | None = None
) -> WebhookEndpointShown:
    endpoint_id = found.id if isinstance(found, WebhookEndpoint) else found.endpoint_id
    return WebhookEndpointShown(
        id=wire(PREFIX, endpoint_id),
        url=found.subscription.url,
        event_types=found.subscription.event_types,
        mtls=found.subscription.mtls,
        status="disabled" if found.status == "disabled" else "active",
        disabled_reason=found.disabled,
        overlap_until=found.overlap_until,
        version=found.version,
        secret=secret,
    )


def delivery(record: DeliveryRecord) -> WebhookDelivery:
    return WebhookDelivery(
        event_id=wire(EVENT_PREFIX, record.event.id),
        event=record.event.name,
        state=record.state,
        reason=record.reason,
        recorded_at=record.event.recorded_at,
        due_at=record.due_at,
        finished_at=record.finished_at,
        attempts=record.attempts,
        tries=tries_shown(record),
    )


def tries_shown(record: DeliveryRecord) -> list[WebhookTry]:
    return [WebhookTry(**msgspec.structs.asdict(each)) for each in record.tries]
