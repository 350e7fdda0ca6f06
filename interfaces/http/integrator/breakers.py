"""`/v1/linked-services/{id}/breaker`: where the circuit stands, and taking it in hand."""

from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from litestar import Response, get, put
from litestar.params import FromPath, JSONBody

from application.transactions.stand_in import StandInBudget
from domain.breaker_control import DEVICES_MAX, BreakerControl, BreakerMode, BreakerReason
from domain.circuit import CircuitState, FailureCounts
from domain.errors import Invalid
from domain.ids import DeviceId, LinkedServiceId, parse, wire
from domain.linked_service import LinkedService
from interfaces.http.integrator.linked_service_shapes import PREFIX
from interfaces.http.integrator.linked_services import NOT_FOUND, Given, Integrator
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import IfMatch, etag, expected_version, path_id
from interfaces.http.positions import positioned
from interfaces.http.refusals import BODY, CONDITION, WRITE, merged
from interfaces.http.services import Services

Time = Annotated[datetime, msgspec.Meta(tz=True)]
Devices = Annotated[
    tuple[Annotated[str, msgspec.Meta(max_length=64)], ...], msgspec.Meta(max_length=DEVICES_MAX)
]


class BreakerChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`until`: from then on it is `auto` again. `devices` are those of a drill."""

    mode: BreakerMode
    reason: BreakerReason
    until: Time | None = None
    devices: Devices = ()

    def control(self) -> BreakerControl:
        """Raises Invalid (`devices_invalid`)."""
        found = [parse("dev", text) for text in self.devices]
        if None in found:
            raise Invalid("devices_invalid", "an id of the form dev_… is wanted")
        return BreakerControl(
            mode=self.mode,
            until=None if self.until is None else self.until.astimezone(UTC),
            devices=tuple(DeviceId(each) for each in found if each is not None),
        )


class BreakerShown(msgspec.Struct, frozen=True, kw_only=True):
    """`mode` is what somebody said, `in_force` what holds now. `state` and what follows are the
    judgement of all processes together, over the calls of the window while it is closed; of an
    open circuit, `failures` and `devices` are those that it opened for. `probes_left` is how many
    calls a half-open circuit still lets through. `stand_in_left` is what is left of the budget of a
    lane that fails open."""

    mode: BreakerMode
    in_force: BreakerMode
    reason: BreakerReason | None
    until: datetime | None
    devices: tuple[str, ...]
    state: CircuitState
    openings: int
    open_until: datetime | None
    probes_left: int | None
    calls: int
    slow: int
    failures: FailureCounts
    failing_devices: int
    stand_in_left: StandInBudget | None


async def _shown(services: Services, service: LinkedService) -> BreakerShown:
    control = service.control
    reading = await services.circuits.read(service.tenant_id, service.id, service.routing.breaker)
    return BreakerShown(
        mode=control.mode,
        in_force=control.in_force(services.clock.now()),
        reason=control.reason,
        until=control.until,
        devices=tuple(wire("dev", device) for device in control.devices),
        state=reading.state,
        openings=reading.openings,
        open_until=reading.open_until,
        probes_left=reading.probes_left,
        calls=reading.calls,
        slow=reading.slow,
        failures=reading.failures,
        failing_devices=reading.devices,
        stand_in_left=(
            await services.stand_ins.budget(service)
            if service.routing.fail_mode == "open"
            else None
        ),
    )


@get(
    "/v1/linked-services/{service_id:str}/breaker",
    operation_id="showBreaker",
    tags=["Linked services"],
    summary="Where the circuit before a product stands",
    permission="linked_services.read",
    refusals={404: (NOT_FOUND,)},
)
async def show(
    service_id: FromPath[str], integrator: Integrator, services: Given
) -> Response[BreakerShown]:
    found = path_id(PREFIX, service_id, NOT_FOUND)
    service = await services.linked_services.get(integrator.tenant_id, found)
    return Response(await _shown(services, service), headers=etag(service.version))


@put(
    "/v1/linked-services/{service_id:str}/breaker",
    operation_id="setBreaker",
    tags=["Linked services"],
    summary="Open or close a circuit by hand, watch it, rehearse an outage, or give it back",
    dto=StrictJSON[BreakerChange],
    return_dto=None,
    permission="linked_services.write",
    request_max_body_size=16_384,
    refusals=merged(
        BODY,
        CONDITION,
        WRITE,
        {
            404: (NOT_FOUND,),
            422: ("until_invalid", "devices_invalid"),
            428: ("if_match_required",),
        },
    ),
)
async def set_breaker(
    service_id: FromPath[str],
    data: JSONBody[BreakerChange],
    integrator: Integrator,
    services: Given,
    if_match: IfMatch = None,
) -> Response[BreakerShown]:
    found = path_id(PREFIX, service_id, NOT_FOUND)
    version = expected_version(if_match, required=True)
    service, done = await services.linked_services.set_breaker(
        integrator, LinkedServiceId(found), version, data.control(), data.reason
    )
    headers = {**etag(service.version), **positioned(done)}
    return Response(await _shown(services, service), headers=headers)


HANDLERS: Final = (show, set_breaker)
