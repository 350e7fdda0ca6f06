"""Read model `linked_services`: the product backends of a tenant, how each is called, and what
its shadow policy would have decided while it was silent."""

from collections import Counter
from collections.abc import Sequence
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
from domain.transaction import TransactionFailedClosed, TransactionFailedOpen
from projections.read_model import Connection, Page, ReadModel, fetch_all, fetch_one, page
from projections.stream_rows import StreamRows

Decided = Literal["allow", "deny"]
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

    CREATE TABLE shadow_verdicts (
        tenant_id       uuid        NOT NULL,
        service_id      uuid        NOT NULL,
        service_version bigint      NOT NULL,
        hour            timestamptz NOT NULL,
        decided         text        NOT NULL,
        would           text        NOT NULL,
        -- empty where a verdict has none
        reason          text        NOT NULL,
        verdicts        bigint      NOT NULL,
        PRIMARY KEY (tenant_id, service_id, hour, service_version, decided, would, reason)
    );
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


class ShadowCount(msgspec.Struct, frozen=True, kw_only=True):
    """How often a shadow policy would have said this where the lane decided that."""

    service_version: int
    decided: Decided
    would: Decided
    reason: str
    verdicts: int


_SERVICES: Final = StreamRows("linked_services", "service_id", LinkedServiceRow, reduce)
_SHADOWED: Final = (TransactionFailedClosed, TransactionFailedOpen)
_COUNT: Final[LiteralString] = """
    INSERT INTO shadow_verdicts (tenant_id, service_id, service_version, hour, decided, would,
                                 reason, verdicts)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (tenant_id, service_id, hour, service_version, decided, would, reason)
    DO UPDATE SET verdicts = shadow_verdicts.verdicts + excluded.verdicts
"""


async def project(connection: Connection, events: Sequence[Recorded]) -> None:
    """Services by their streams; verdicts are counted, each once."""
    services = [each for each in events if not isinstance(each.event, _SHADOWED)]
    if services:
        await _SERVICES.project(connection, services)
    counted = Counter(_verdict(each) for each in events if isinstance(each.event, _SHADOWED))
    counted.pop(None, None)
    if counted:
        rows = [(*key, count) for key, count in counted.items() if key is not None]
        async with connection.cursor() as cursor:
            await cursor.executemany(_COUNT, rows)


def _verdict(recorded: Recorded) -> tuple[object, ...] | None:
    """What is counted of a decision; None without a verdict, or of a policy unknown to us."""
    event = recorded.event
    if not isinstance(event, _SHADOWED) or event.shadow is None:
        return None
    said = event.shadow
    if said.service_id is None:
        return None
    hour = recorded.recorded_at.replace(minute=0, second=0, microsecond=0)
    decided: Decided = "allow" if isinstance(event, TransactionFailedOpen) else "deny"
    return (
        recorded.tenant_id,
        said.service_id,
        said.service_version,
        hour,
        decided,
        said.would,
        said.reason or "",
    )


READ_MODEL: Final = ReadModel(
    name="linked_services",
    version=2,
    tables=("linked_services", "shadow_verdicts"),
    ddl=DDL,
    listens_to=(*get_args(LinkedServiceEvent), *_SHADOWED),
    project=project,
)

_SHADOW: Final[LiteralString] = """
    SELECT service_version, decided, would, reason, sum(verdicts)::bigint AS verdicts
    FROM read_models.shadow_verdicts
    WHERE tenant_id = %(tenant_id)s AND service_id = %(service_id)s
      AND (%(since)s::timestamptz IS NULL OR hour >= date_trunc('hour', %(since)s::timestamptz))
      AND (%(until)s::timestamptz IS NULL OR hour < %(until)s)
    GROUP BY service_version, decided, would, reason
    ORDER BY service_version, decided, would, reason
"""

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
_TOTALS: Final[LiteralString] = """
    SELECT decided, would, sum(verdicts)::bigint FROM read_models.shadow_verdicts
    GROUP BY decided, would
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


async def shadow_counts(
    connection: Connection,
    tenant_id: TenantId,
    service_id: LinkedServiceId,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[ShadowCount]:
    """Of the hours that these times touch."""
    parameters = {
        "tenant_id": tenant_id,
        "service_id": service_id,
        "since": since,
        "until": until,
    }
    return await fetch_all(connection, _SHADOW, parameters, ShadowCount)


async def shadow_totals(connection: Connection) -> list[tuple[str, str, int]]:
    """Of all tenants: decided, would, and how often. For a connection that sees all of them."""
    return [
        (row[0], row[1], row[2]) for row in await (await connection.execute(_TOTALS)).fetchall()
    ]
