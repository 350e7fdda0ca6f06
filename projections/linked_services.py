"""Read model `linked_services`: the product backends of a tenant and how each is called."""

from datetime import datetime
from typing import Final, Literal, LiteralString, get_args

import msgspec

from domain.events import Recorded
from domain.folding import UnexpectedEvent
from domain.ids import LinkedServiceId, TenantId
from domain.linked_service import (
    LinkedServiceBreakerSet,
    LinkedServiceChanged,
    LinkedServiceDeleted,
    LinkedServiceEvent,
    LinkedServiceRegistered,
    LinkedServiceResumed,
    LinkedServiceSuspended,
    Routing,
)
from projections.read_model import Connection, Page, ReadModel, fetch_one, page
from projections.stream_rows import StreamRows

LinkedServiceStatus = Literal["active", "suspended", "deleted"]

DDL: Final = """
    CREATE TABLE linked_services (
        service_id    uuid        PRIMARY KEY,
        tenant_id     uuid        NOT NULL,
        version       bigint      NOT NULL,
        position      bigint      NOT NULL,
        last_position bigint      NOT NULL,
        product_key   text        NOT NULL,
        status        text        NOT NULL,
        routing       jsonb       NOT NULL,
        registered_at timestamptz NOT NULL,
        changed_at    timestamptz NOT NULL
    );
    CREATE INDEX linked_services_listing ON linked_services (tenant_id, position);
    CREATE UNIQUE INDEX linked_services_product ON linked_services (tenant_id, product_key)
        WHERE status <> 'deleted';
"""


class LinkedServiceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One product backend. `version` is its stream's (the ETag); `position` orders listings."""

    service_id: LinkedServiceId
    tenant_id: TenantId
    version: int
    position: int
    last_position: int
    product_key: str
    status: LinkedServiceStatus
    routing: Routing
    registered_at: datetime
    changed_at: datetime


def reduce(row: LinkedServiceRow | None, recorded: Recorded) -> LinkedServiceRow:
    """The service's row after one more fact."""
    event = recorded.event
    if isinstance(event, LinkedServiceRegistered):
        return LinkedServiceRow(
            service_id=LinkedServiceId(recorded.stream_id),
            tenant_id=recorded.tenant_id,
            version=recorded.version,
            position=recorded.position,
            last_position=recorded.position,
            product_key=event.product_key,
            status="active",
            routing=event.routing,
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
        case LinkedServiceChanged():
            return replace(row, routing=event.routing)
        case LinkedServiceSuspended():
            return replace(row, status="suspended")
        case LinkedServiceResumed():
            return replace(row, status="active")
        case LinkedServiceDeleted():
            return replace(row, status="deleted")
        case LinkedServiceBreakerSet():
            # Who asks for the breaker asks where it stands, too, which no row knows.
            return row
        case other:
            raise UnexpectedEvent(other)


READ_MODEL: Final = ReadModel(
    name="linked_services",
    version=1,
    tables=("linked_services",),
    ddl=DDL,
    listens_to=get_args(LinkedServiceEvent),
    project=StreamRows("linked_services", "service_id", LinkedServiceRow, reduce).project,
)

_BY_ID: Final[LiteralString] = """
    SELECT * FROM read_models.linked_services
    WHERE tenant_id = %(tenant_id)s AND service_id = %(service_id)s AND status <> 'deleted'
"""
_BY_PRODUCT: Final[LiteralString] = """
    SELECT * FROM read_models.linked_services
    WHERE tenant_id = %(tenant_id)s AND product_key = %(product_key)s AND status <> 'deleted'
"""
_BY_TENANT: Final[LiteralString] = """
    SELECT * FROM read_models.linked_services
    WHERE tenant_id = %(tenant_id)s
      AND position > coalesce(%(after)s::bigint, 0)
      AND status <> 'deleted'
      AND (%(status)s::text IS NULL OR status = %(status)s)
    ORDER BY position
    LIMIT %(limit)s
"""


async def by_id(
    connection: Connection, tenant_id: TenantId, service_id: LinkedServiceId
) -> LinkedServiceRow | None:
    """A service of this tenant; a deleted one is not found."""
    parameters = {"tenant_id": tenant_id, "service_id": service_id}
    return await fetch_one(connection, _BY_ID, parameters, LinkedServiceRow)


async def by_product_key(
    connection: Connection, tenant_id: TenantId, product_key: str
) -> LinkedServiceRow | None:
    """The service that holds this product key now."""
    parameters = {"tenant_id": tenant_id, "product_key": product_key}
    return await fetch_one(connection, _BY_PRODUCT, parameters, LinkedServiceRow)


async def by_tenant(
    connection: Connection,
    tenant_id: TenantId,
    *,
    status: Literal["active", "suspended"] | None = None,
    after: int | None = None,
    limit: int = 50,
) -> Page[LinkedServiceRow]:
    """A tenant's services in the order of their registration, without the deleted ones."""
    parameters = {"tenant_id": tenant_id, "status": status, "after": after}
    return await page(connection, _BY_TENANT, parameters, LinkedServiceRow, limit=limit)
