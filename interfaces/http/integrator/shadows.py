"""`/v1/linked-services/{id}/shadow`: how often the shadow policy and the lane agreed."""

from typing import Final, Literal

import msgspec
from litestar import Response, get
from litestar.params import FromPath

from domain.ids import LinkedServiceId
from interfaces.http.integrator.linked_service_shapes import PREFIX
from interfaces.http.integrator.linked_services import NOT_FOUND, Given, Integrator
from interfaces.http.parameters import MinPosition, path_id, reading
from interfaces.http.refusals import FRESHNESS, merged
from interfaces.http.times import Since, Until, when
from projections import linked_services as view


class ShadowVerdicts(msgspec.Struct, frozen=True, kw_only=True):
    """`decided` is what the device was told, `would` what the shadow policy of this version of the
    linked service would have said, and `reason` why it would have allowed, or the bound it met."""

    linked_service_version: int
    decided: Literal["allow", "deny"]
    would: Literal["allow", "deny"]
    reason: str | None
    verdicts: int


class ShadowTally(msgspec.Struct, frozen=True, kw_only=True):
    """Of the decisions that were taken without the product, in the hours that were asked for."""

    agree: int
    would_allow: int
    would_deny: int
    verdicts: list[ShadowVerdicts]


@get(
    "/v1/linked-services/{service_id:str}/shadow",
    operation_id="getShadowVerdicts",
    tags=["Linked services"],
    summary="How often the shadow policy would have decided otherwise",
    description="Counted by the hour; `would_allow` and `would_deny` are those that differ.",
    permission="linked_services.read",
    refusals=merged(FRESHNESS, {400: ("time_invalid",), 404: (NOT_FOUND,)}),
)
async def show(
    service_id: FromPath[str],
    integrator: Integrator,
    services: Given,
    since: Since = None,
    until: Until = None,
    min_position: MinPosition = None,
) -> Response[ShadowTally]:
    bounds = when(since), when(until)
    found = path_id(PREFIX, service_id, NOT_FOUND)
    service = await services.linked_services.get(integrator.tenant_id, found)
    async with reading(services, integrator.tenant_id, view.READ_MODEL, min_position) as connection:
        counted = await view.shadow_counts(
            connection,
            integrator.tenant_id,
            LinkedServiceId(service.id),
            since=bounds[0],
            until=bounds[1],
        )
    return Response(_tally(counted), headers={"cache-control": "no-store"})


def _tally(counted: list[view.ShadowCount]) -> ShadowTally:
    otherwise = [each for each in counted if each.would != each.decided]
    return ShadowTally(
        agree=sum(each.verdicts for each in counted if each.would == each.decided),
        would_allow=sum(each.verdicts for each in otherwise if each.would == "allow"),
        would_deny=sum(each.verdicts for each in otherwise if each.would == "deny"),
        verdicts=[
            ShadowVerdicts(
                linked_service_version=each.service_version,
                decided=each.decided,
                would=each.would,
                reason=each.reason or None,
                verdicts=each.verdicts,
            )
            for each in counted
        ],
    )


HANDLERS: Final = (show,)
