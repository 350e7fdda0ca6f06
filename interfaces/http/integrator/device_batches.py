"""`/v1/device-batches`: many devices of one kind at once (reference broker.md §3.1)."""

import csv
import io
import re
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from application.fleet.batches import SLOTS_MAX, Slot
from application.principals import Manager
from domain.attestation import RequiredLevel
from domain.device import DeviceRegistered, DeviceType, RevocationReason
from domain.errors import NotFound
from domain.ids import wire
from interfaces.http.integrator.devices import PREFIX, Action, Name, ProductKey, Serial
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import (
    BATCH_PATTERN,
    IdempotencyKey,
    MinPosition,
    header_key,
    reading,
)
from interfaces.http.refusals import BODY, FRESHNESS, KEY, WRITE, merged
from interfaces.http.services import Services
from projections import devices as view

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

NOT_FOUND: Final = "device_batch_not_found"
CSV: Final = "text/csv"

BatchName = Annotated[str, msgspec.Meta(pattern=BATCH_PATTERN)]
_BATCH: Final = re.compile(BATCH_PATTERN[1:-1])


class NewSlot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One device to come."""

    name: Name
    serial: Serial | None = None


class NewSlots(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Devices of one type, with one binding and one least level of attestation; a batch may be
    added to."""

    batch: BatchName
    type: DeviceType
    bound_product: ProductKey | None = None
    bound_action: Action | None = None
    attestation: RequiredLevel = "none"
    slots: Annotated[tuple[NewSlot, ...], msgspec.Meta(min_length=1, max_length=SLOTS_MAX)]


class SlotsMade(msgspec.Struct, frozen=True, kw_only=True):
    """Their ids, in the order of the request. Each waits until somebody asks for its pairing code
    (`POST /v1/devices/{id}/pairing-code`) and pairs it."""

    batch: str
    devices: list[str]


class SlotsRevoked(msgspec.Struct, frozen=True, kw_only=True):
    """How many were waiting and are not any more."""

    batch: str
    revoked: int


@post(
    "/v1/device-batches",
    operation_id="addDeviceBatch",
    tags=["Devices"],
    summary="Register many devices of one kind: all of them or none",
    dto=StrictJSON[NewSlots],
    return_dto=None,
    permission="devices.write",
    request_max_body_size=262_144,
    refusals=merged(
        BODY,
        KEY,
        WRITE,
        {
            422: (
                "serial_twice",
                "device_name_invalid",
                "binding_required",
                "binding_forbidden",
                "linked_service_not_found",
                "action_not_allowed",
            )
        },
    ),
)
async def add(
    request: Request[Any, Any, Any],
    data: JSONBody[NewSlots],
    integrator: Integrator,
    services: Given,
    idempotency_key: IdempotencyKey = None,
) -> Response[SlotsMade]:
    del idempotency_key  # declared for OpenAPI; read from the raw headers to see a second one
    kind = DeviceRegistered(
        type=data.type,
        name=data.batch,
        bound_product=data.bound_product,
        bound_action=data.bound_action,
        batch=data.batch,
        attestation=data.attestation,
    )
    slots = [Slot(name=each.name, serial=each.serial) for each in data.slots]
    made = await services.device_batches.add(integrator, kind, slots, header_key(request))
    shown = SlotsMade(batch=data.batch, devices=[wire(PREFIX, each) for each in made.devices])
    return Response(shown, headers={"log-position": str(made.position)})


@get(
    "/v1/device-batches/{batch:str}",
    operation_id="exportDeviceBatch",
    tags=["Devices"],
    summary="The devices of a batch and where each stands (CSV)",
    permission="devices.read",
    media_type=CSV,
    refusals=merged(FRESHNESS, {404: (NOT_FOUND,)}),
)
async def export(
    batch: FromPath[str], integrator: Integrator, services: Given, min_position: MinPosition = None
) -> Response[str]:
    batch = _known(batch)
    async with reading(services, integrator.tenant_id, view.READ_MODEL, min_position) as connection:
        rows = await view.of_batch(connection, integrator.tenant_id, batch)
    if not rows:
        raise NotFound(NOT_FOUND)
    return Response(_csv(rows), media_type=CSV, headers={"cache-control": "no-store"})


@post(
    "/v1/device-batches/{batch:str}/revoke",
    operation_id="revokeDeviceBatch",
    tags=["Devices"],
    summary="Revoke what still waits of a batch; devices that were paired stay",
    status_code=200,
    permission="devices.write",
    refusals=merged(
        WRITE, {400: ("invalid_request",), 404: (NOT_FOUND,), 503: ("position_not_reached",)}
    ),
)
async def revoke(
    batch: FromPath[str],
    integrator: Integrator,
    services: Given,
    reason: FromQuery[RevocationReason] = "unspecified",
) -> SlotsRevoked:
    revoked = await services.device_batches.revoke(integrator, _known(batch), reason)
    return SlotsRevoked(batch=batch, revoked=revoked)


def _known(batch: str) -> str:
    """Raises NotFound for what no batch can be called."""
    if _BATCH.fullmatch(batch) is None:
        raise NotFound(NOT_FOUND)
    return batch


def _csv(rows: list[view.DeviceRow]) -> str:
    """With a quote before what a spreadsheet would take for a formula."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("id", "name", "serial", "status", "certificate_not_after"))
    for row in rows:
        ends = row.certificate_not_after
        writer.writerow(
            (
                wire(PREFIX, row.device_id),
                _plain(row.name),
                _plain(row.serial or ""),
                row.status,
                "" if ends is None else ends.isoformat(),
            )
        )
    return text.getvalue()


def _plain(text: str) -> str:
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


HANDLERS = (add, export, revoke)
