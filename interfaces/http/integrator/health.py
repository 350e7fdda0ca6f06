"""Whether products and the palm vendor answer, for banners and status pages (004 §10.7)."""

from datetime import datetime
from typing import Final

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from application.ports.health import HealthRecord
from application.principals import Manager
from domain.health import HealthStatus
from domain.ids import wire
from interfaces.http.parameters import path_id
from interfaces.http.services import Services

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

SERVICE_PREFIX: Final = "lsvc"

NOT_KEPT: Final = {"cache-control": "no-store"}


class HealthShown(msgspec.Struct, frozen=True, kw_only=True):
    """What the last health checks found, one a minute; three failures in a row are `unhealthy`.

    `failing_since` is the first of these failures; `reason` the code of the last one.
    """

    status: HealthStatus
    checked_at: datetime | None
    failures: int
    failing_since: datetime | None
    reason: str | None
    latency_ms: float | None


class UnhealthyShown(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    product_key: str
    health: HealthShown


class HealthOverview(msgspec.Struct, frozen=True, kw_only=True):
    """What a banner says: active products that are unhealthy, the longest first."""

    unhealthy: list[UnhealthyShown]
    palm_vendor: HealthShown


def health_shown(record: HealthRecord) -> HealthShown:
    return HealthShown(**msgspec.structs.asdict(record))


@get(
    "/v1/health",
    operation_id="getHealth",
    tags=["Linked services"],
    summary="What is unhealthy now: your products, and the platform's palm vendor",
    permission="linked_services.read",
)
async def overview(integrator: Integrator, services: Given) -> Response[HealthOverview]:
    found = await services.health.unhealthy(integrator.tenant_id)
    shown = HealthOverview(
        unhealthy=[
            UnhealthyShown(
                id=wire(SERVICE_PREFIX, each.service_id),
                product_key=each.product_key,
                health=health_shown(each.record),
            )
            for each in found
        ],
        palm_vendor=health_shown(await services.health.palm_vendor()),
    )
    return Response(shown, headers=NOT_KEPT)


@get(
    "/v1/linked-services/{service_id:str}/health",
    operation_id="getLinkedServiceHealth",
    tags=["Linked services"],
    summary="What the last health checks of one product found",
    permission="linked_services.read",
    refusals={404: ("linked_service_not_found",)},
)
async def of_service(
    service_id: FromPath[str], integrator: Integrator, services: Given
) -> Response[HealthShown]:
    found = path_id(SERVICE_PREFIX, service_id, "linked_service_not_found")
    service = await services.linked_services.get(integrator.tenant_id, found)
    records = await services.health.of(integrator.tenant_id, (service.id,))
    return Response(health_shown(records[service.id]), headers=NOT_KEPT)


HANDLERS = (overview, of_service)
