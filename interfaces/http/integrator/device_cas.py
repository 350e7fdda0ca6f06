"""`/v1/admin/ssl/ca-cert`: the device CA, for whoever runs the platform (003 §3.9; reference
broker.md §3.2). Only a client of the platform itself may ask."""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from application.fleet.device_cas import SPREAD_MAX_S, RotationStanding, Step
from application.principals import Manager
from domain.device_ca import Phase
from domain.errors import NotFound
from domain.ids import PLATFORM, wire
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import ApprovalHeader, IfMatch, etag, expected_version
from interfaces.http.refusals import APPROVAL, BODY, CONDITION, WRITE, Refusals, merged
from interfaces.http.services import Services

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

OF_PLATFORM: Final[Refusals] = {
    404: ("device_ca_not_found",),
    503: ("position_not_reached",),
}


class Laggard(msgspec.Struct, frozen=True, kw_only=True):
    """A device that speaks with a certificate of another CA than the one that issues."""

    tenant_id: str
    device_id: str
    authority: int
    certificate_not_after: datetime


class RotationShown(msgspec.Struct, frozen=True, kw_only=True):
    """`devices` counts them by the CA of what they speak with; `laggards` are a hundred at most."""

    phase: Phase
    version: int
    issuing: int
    trusted: list[int]
    retired: list[int]
    distrusted: list[int]
    devices: dict[str, int]
    laggards_total: int
    laggards: list[Laggard]


class RotationStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`spread_s` is for `issue`: within how long devices are told to renew; `force`, for `finalize`
    and `rollback`, leaves devices behind, which must then recover. `rollback` wants If-Match: it is
    the one step that, taken twice, goes two back."""

    phase: Step
    spread_s: Annotated[int, msgspec.Meta(ge=0, le=SPREAD_MAX_S)] = 86_400
    force: bool = False


class Regeneration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Written out: `every device must be paired again`."""

    confirm: Annotated[str, msgspec.Meta(max_length=80)]


def shown(standing: RotationStanding) -> RotationShown:
    state = standing.ca
    return RotationShown(
        phase=state.phase,
        version=state.version,
        issuing=state.issuing,
        trusted=list(state.trusted),
        retired=list(state.retired),
        distrusted=list(state.distrusted),
        devices={str(number): count for number, count in sorted(standing.devices.items())},
        laggards_total=sum(standing.devices.values()) - standing.on_issuing,
        laggards=[
            Laggard(
                tenant_id=wire("ten", each.tenant_id),
                device_id=wire("dev", each.device_id),
                authority=each.authority,
                certificate_not_after=each.not_after,
            )
            for each in standing.laggards
        ],
    )


@get(
    "/v1/admin/ssl/ca-cert/rotate",
    operation_id="getDeviceCARotation",
    tags=["Platform"],
    summary="Where the change of the device CA stands, and who has not followed",
    permission="device_ca.read",
    refusals=OF_PLATFORM,
)
async def standing(integrator: Integrator, services: Given) -> Response[RotationShown]:
    _platform(integrator)
    found = await services.device_cas.standing()
    return _answered(found)


@post(
    "/v1/admin/ssl/ca-cert/rotate",
    operation_id="rotateDeviceCA",
    tags=["Platform"],
    summary="Take the next step to another device CA, or one back",
    status_code=200,
    dto=StrictJSON[RotationStep],
    return_dto=None,
    permission="device_ca.write",
    refusals=merged(
        BODY,
        WRITE,
        CONDITION,
        OF_PLATFORM,
        {428: ("if_match_required",)},
        {409: ("rotation_under_way", "rotation_phase_wrong", "devices_left_behind")},
    ),
)
async def rotate(
    data: JSONBody[RotationStep],
    integrator: Integrator,
    services: Given,
    if_match: IfMatch = None,
) -> Response[RotationShown]:
    _platform(integrator)
    version = expected_version(if_match, required=data.phase == "rollback")
    cas = services.device_cas
    match data.phase:
        case "prepare":
            await cas.announce(integrator)
        case "issue":
            await cas.issue(integrator, spread_s=data.spread_s)
        case "finalize":
            await cas.finalize(integrator, force=data.force)
        case "rollback":
            await cas.roll_back(integrator, force=data.force, if_version=version)
    return _answered(await cas.standing())


@post(
    "/v1/admin/ssl/ca-cert/regenerate",
    operation_id="regenerateDeviceCA",
    tags=["Platform"],
    summary="Believe no device CA of before: every device must be paired again",
    status_code=200,
    dto=StrictJSON[Regeneration],
    return_dto=None,
    permission="device_ca.write",
    refusals=merged(BODY, WRITE, APPROVAL, OF_PLATFORM, {422: ("confirmation_wrong",)}),
)
async def regenerate(
    data: JSONBody[Regeneration],
    integrator: Integrator,
    services: Given,
    approval: ApprovalHeader = None,
) -> Response[RotationShown]:
    del approval  # declared for OpenAPI; the door read it
    _platform(integrator)
    await services.device_cas.regenerate(integrator, data.confirm)
    found = await services.device_cas.standing()
    return _answered(found)


def _answered(found: RotationStanding) -> Response[RotationShown]:
    headers = {**etag(found.ca.version), "cache-control": "no-store"}
    return Response(shown(found), headers=headers)


def _platform(integrator: Manager) -> None:
    """Raises NotFound (`device_ca_not_found`): a tenant has none."""
    if integrator.tenant_id != PLATFORM:
        raise NotFound("device_ca_not_found")


HANDLERS = (standing, rotate, regenerate)
