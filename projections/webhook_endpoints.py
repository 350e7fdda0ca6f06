"""Read model `webhook_endpoints`: where a tenant wants to be told of which events."""

from datetime import datetime
from typing import Final, Literal, LiteralString, get_args

import msgspec

from domain.events import Recorded
from domain.folding import UnexpectedEvent
from domain.ids import TenantId, WebhookEndpointId
from domain.webhook_endpoint import (
    DisabledReason,
    Subscription,
    WebhookEndpointChanged,
    WebhookEndpointDeleted,
    WebhookEndpointDisabled,
    WebhookEndpointEnabled,
    WebhookEndpointEvent,
    WebhookEndpointRegistered,
    WebhookEndpointSecretRotated,
    WebhookEndpointTestRequested,
)
from projections.read_model import Connection, Page, ReadModel, fetch_all, page
from projections.stream_rows import StreamRows

WebhookEndpointStatus = Literal["active", "disabled", "deleted"]

DDL: Final = """
    CREATE TABLE webhook_endpoints (
        endpoint_id   uuid        PRIMARY KEY,
        tenant_id     uuid        NOT NULL,
        version       bigint      NOT NULL,
        position      bigint      NOT NULL,
        last_position bigint      NOT NULL,
        subscription  jsonb       NOT NULL,
        status        text        NOT NULL,
        disabled      text,
        overlap_until timestamptz,
        registered_at timestamptz NOT NULL,
        changed_at    timestamptz NOT NULL
    );
    CREATE INDEX webhook_endpoints_listing ON webhook_endpoints (tenant_id, position);
"""


class WebhookEndpointRow(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint. `version` is its stream's (the ETag); `position` orders listings."""

    endpoint_id: WebhookEndpointId
    tenant_id: TenantId
    version: int
    position: int
    last_position: int
    subscription: Subscription
    status: WebhookEndpointStatus
    disabled: DisabledReason | None
    overlap_until: datetime | None
    registered_at: datetime
    changed_at: datetime


def reduce(row: WebhookEndpointRow | None, recorded: Recorded) -> WebhookEndpointRow:
    """The endpoint's row after one more fact."""
    event = recorded.event
    if isinstance(event, WebhookEndpointRegistered):
        return WebhookEndpointRow(
            endpoint_id=WebhookEndpointId(recorded.stream_id),
            tenant_id=recorded.tenant_id,
            version=recorded.version,
            position=recorded.position,
            last_position=recorded.position,
            subscription=event.subscription,
            status="active",
            disabled=None,
            overlap_until=None,
            registered_at=recorded.recorded_at,
            changed_at=recorded.recorded_at,
        )
    if row is None:
        raise UnexpectedEvent(event)
    replace = msgspec.structs.replace
    row = replace(
        row,
        version=recorded.version,
        last_position=recorded.position,
        changed_at=recorded.recorded_at,
    )
    match event:
        case WebhookEndpointChanged():
            return replace(row, subscription=event.subscription)
        case WebhookEndpointSecretRotated():
            return replace(row, overlap_until=event.overlap_until)
        case WebhookEndpointTestRequested():
            return row
        case WebhookEndpointDisabled():
            return replace(row, status="disabled", disabled=event.reason)
        case WebhookEndpointEnabled():
            return replace(row, status="active", disabled=None)
        case WebhookEndpointDeleted():
            return replace(row, status="deleted")
        case other:
            raise UnexpectedEvent(other)


READ_MODEL: Final = ReadModel(
    name="webhook_endpoints",
    version=1,
    tables=("webhook_endpoints",),
    ddl=DDL,
    listens_to=get_args(WebhookEndpointEvent),
    project=StreamRows("webhook_endpoints", "endpoint_id", WebhookEndpointRow, reduce).project,
)

_BY_TENANT: Final[LiteralString] = """
    SELECT * FROM read_models.webhook_endpoints
    WHERE tenant_id = %(tenant_id)s
      AND position > coalesce(%(after)s::bigint, 0)
      AND status <> 'deleted'
    ORDER BY position
    LIMIT %(limit)s
"""
_COUNT: Final[LiteralString] = """
    SELECT count(*) FROM read_models.webhook_endpoints
    WHERE tenant_id = %s AND status <> 'deleted'
"""
_WHOLE: Final[LiteralString] = """
    SELECT * FROM read_models.webhook_endpoints
    WHERE tenant_id = %(tenant_id)s AND status <> 'deleted' ORDER BY position
"""


async def by_tenant(
    connection: Connection, tenant_id: TenantId, *, after: int | None = None, limit: int = 50
) -> Page[WebhookEndpointRow]:
    """A tenant's endpoints in the order of their registration, without the deleted ones."""
    parameters = {"tenant_id": tenant_id, "after": after}
    return await page(connection, _BY_TENANT, parameters, WebhookEndpointRow, limit=limit)


async def count(connection: Connection, tenant_id: TenantId) -> int:
    """How many endpoints are not deleted."""
    found = await (await connection.execute(_COUNT, (tenant_id,))).fetchone()
    assert found is not None, "count(*) answers with one row"
    number: int = found[0]
    return number


async def whole(connection: Connection, tenant_id: TenantId) -> list[WebhookEndpointRow]:
    """Every endpoint that is not deleted; registering bounds their number."""
    return await fetch_all(connection, _WHOLE, {"tenant_id": tenant_id}, WebhookEndpointRow)
