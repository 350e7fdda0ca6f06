"""`/v1/devices`: the fleet, as an integrator manages it (003 §3.9; reference broker.md §3.1)."""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from application.fleet.pairing_codes import IssuedPairingCode
from application.principals import Manager
from domain.attestation import Assurance, RequiredLevel
from domain.device import (
    Device,
    DeviceRegistered,
    DeviceStatus,
    DeviceType,
    RevocationReason,
)
from domain.ids import DeviceId, UserId, wire
from interfaces.http.as_of import AS_OF, AsOf, folding, moment, past_row, told
from interfaces.http.integrator.presence import PresenceShown, presences_of
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import (
    Cursor,
    IdempotencyKey,
    IfMatch,
    Limit,
    MinPosition,
    cursor,
    etag,
    expected_version,
    header_key,
    opaque,
    path_id,
    reading,
)
from interfaces.http.positions import positioned
from interfaces.http.refusals import BODY, CONDITION, KEY, PAGE, WRITE, merged
from interfaces.http.services import Services
from projections import devices as view

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

PREFIX: Final = "dev"
NOT_FOUND: Final = "device_not_found"

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
Serial = Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e][\x20-\x7e]{0,63}$")]
ProductKey = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_-]{0,62}$")]
Action = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_.-]{0,62}$")]
WireId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class NewDevice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device that is expected. A pos or gate is bound to one product and action, a personal
    scanner to the one person whom it is asked for. To be paired its key must be attested with this
    level at the least; the tenant's settings may require more."""

    type: DeviceType
    name: Name
    serial: Serial | None = None
    bound_product: ProductKey | None = None
    bound_action: Action | None = None
    bound_user: WireId | None = None
    small_model_capable: bool = False
    attestation: RequiredLevel = "none"


class PairingCodeShown(msgspec.Struct, frozen=True, kw_only=True):
    """For the installer, to be typed at the device within five minutes."""

    code: str
    expires_at: datetime


class DeviceShown(msgspec.Struct, frozen=True, kw_only=True):
    """A device. `attestation` is what it must prove of its key to be paired, `assurance` what it
    did prove. `presence` is of this moment, and absent where the past is shown."""

    id: str
    type: DeviceType
    name: str
    serial: str | None
    bound_product: str | None
    bound_action: str | None
    bound_user: str | None
    small_model_capable: bool
    status: DeviceStatus
    version: int
    fingerprint: str | None
    certificate_not_after: datetime | None
    locked: bool
    attestation: RequiredLevel
    assurance: Assurance
    batch: str | None = None
    pairing: PairingCodeShown | None = None
    presence: PresenceShown | None = None


class DevicePage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[DeviceShown]
    next: str | None


def _shown(
    device: Device,
    code: IssuedPairingCode | None = None,
    presence: PresenceShown | None = None,
) -> DeviceShown:
    registered, certificate = device.registered, device.certificate
    return DeviceShown(
        id=wire(PREFIX, device.id),
        type=registered.type,
        name=registered.name,
        serial=registered.serial,
        bound_product=registered.bound_product,
        bound_action=registered.bound_action,
        bound_user=_user(registered.bound_user),
        small_model_capable=registered.small_model_capable,
        status=device.status,
        version=device.version,
        fingerprint=certificate.fingerprint if certificate is not None else None,
        certificate_not_after=certificate.not_after if certificate is not None else None,
        locked=device.locked,
        attestation=registered.attestation,
        assurance=device.assurance,
        batch=registered.batch,
        pairing=_code(code) if code is not None else None,
        presence=presence,
    )


def _user(bound: UserId | None) -> str | None:
    return None if bound is None else wire("usr", bound)


def _code(code: IssuedPairingCode) -> PairingCodeShown:
    return PairingCodeShown(code=code.code, expires_at=code.expires_at)


def _row(row: view.DeviceRow, presence: PresenceShown | None = None) -> DeviceShown:
    return DeviceShown(
        id=wire(PREFIX, row.device_id),
        type=row.type,
        name=row.name,
        serial=row.serial,
        bound_product=row.bound_product,
        bound_action=row.bound_action,
        bound_user=_user(row.bound_user),
        small_model_capable=row.small_model_capable,
        status=row.status,
        version=row.version,
        fingerprint=row.fingerprint,
        certificate_not_after=row.certificate_not_after,
        locked=row.locked,
        attestation=row.attestation,
        assurance=row.assurance,
        batch=row.batch,
        presence=presence,
    )


@post(
    "/v1/devices",
    operation_id="registerDevice",
    tags=["Devices"],
    summary="Register a device and get its pairing code",
    dto=StrictJSON[NewDevice],
    return_dto=None,
    permission="devices.write",
    request_max_body_size=65_536,
    refusals=merged(
        BODY,
        KEY,
        WRITE,
        {
            403: ("user_suspended", "user_erased"),
            404: ("user_not_found",),
            409: ("pairing_code_superseded",),
            422: (
                "device_name_invalid",
                "binding_required",
                "binding_forbidden",
                "linked_service_not_found",
                "action_not_allowed",
                "action_invalid",
            ),
        },
    ),
)
async def register(
    request: Request[Any, Any, Any],
    data: JSONBody[NewDevice],
    integrator: Integrator,
    services: Given,
    idempotency_key: IdempotencyKey = None,
) -> Response[DeviceShown]:
    del idempotency_key  # declared for OpenAPI; read from the raw headers to see a second one
    given = {name: getattr(data, name) for name in NewDevice.__struct_fields__}
    if data.bound_user is not None:
        given["bound_user"] = UserId(path_id("usr", data.bound_user, "user_not_found"))
    registered = DeviceRegistered(**given)
    device, code, done = await services.devices.register(
        integrator, registered, header_key(request)
    )
    headers = {
        "location": f"/v1/devices/{wire(PREFIX, device.id)}",
        "cache-control": "no-store",
        **etag(device.version),
        **positioned(done),
    }
    return Response(_shown(device, code), headers=headers)


@get(
    "/v1/devices",
    operation_id="listDevices",
    tags=["Devices"],
    summary="List the fleet",
    permission="devices.read",
    refusals=merged(PAGE, AS_OF),
)
async def index(
    integrator: Integrator,
    services: Given,
    page: Cursor = None,
    limit: Limit = 50,
    min_position: MinPosition = None,
    status: FromQuery[DeviceStatus | None] = None,
    as_of: AsOf = None,
) -> Response[DevicePage]:
    after = cursor(page)
    up_to = await moment(services, as_of)
    if up_to is not None:
        past = await services.history.page(
            integrator.tenant_id,
            DeviceRegistered,
            folding(view.reduce),
            up_to=up_to,
            after=after,
            limit=limit,
            keep=lambda row: status is None or row.status == status,
        )
        items = [_row(row) for row in past.states]
        return Response(DevicePage(items=items, next=opaque(past.next)), headers=told(up_to))
    async with reading(services, integrator.tenant_id, view.READ_MODEL, min_position) as connection:
        found = await view.by_tenant(
            connection, integrator.tenant_id, status=status, after=after, limit=limit
        )
    devices = [row.device_id for row in found.rows]
    presences = await presences_of(services, integrator.tenant_id, devices)
    items = [_row(row, presences[row.device_id]) for row in found.rows]
    return Response(DevicePage(items=items, next=opaque(found.next)))


@get(
    "/v1/devices/{device_id:str}",
    operation_id="getDevice",
    tags=["Devices"],
    summary="One device, with its ETag",
    permission="devices.read",
    refusals=merged(AS_OF, {404: (NOT_FOUND,)}),
)
async def show(
    device_id: FromPath[str], integrator: Integrator, services: Given, as_of: AsOf = None
) -> Response[DeviceShown]:
    found = path_id(PREFIX, device_id, NOT_FOUND)
    up_to = await moment(services, as_of)
    if up_to is not None:
        row = await past_row(
            services,
            integrator.tenant_id,
            found,
            DeviceRegistered,
            view.reduce,
            up_to,
            NOT_FOUND,
        )
        return Response(_row(row), headers={**etag(row.version), **told(up_to)})
    device = await services.devices.get(integrator.tenant_id, found)
    presence = (await presences_of(services, integrator.tenant_id, (device.id,)))[device.id]
    return Response(_shown(device, presence=presence), headers=etag(device.version))


@post(
    "/v1/devices/{device_id:str}/pairing-code",
    operation_id="issuePairingCode",
    tags=["Devices"],
    summary="Issue a new pairing code; the one before it is dead",
    permission="devices.write",
    refusals=merged(
        WRITE,
        {
            400: ("idempotency_key_invalid",),
            404: (NOT_FOUND,),
            409: ("device_already_paired", "pairing_code_superseded"),
        },
    ),
)
async def issue_pairing_code(
    request: Request[Any, Any, Any],
    device_id: FromPath[str],
    integrator: Integrator,
    services: Given,
    idempotency_key: IdempotencyKey = None,
) -> Response[PairingCodeShown]:
    del idempotency_key  # declared for OpenAPI; read from the raw headers to see a second one
    found = path_id(PREFIX, device_id, NOT_FOUND)
    code, done = await services.devices.issue_pairing_code(
        integrator, DeviceId(found), header_key(request)
    )
    return Response(_code(code), headers={"cache-control": "no-store", **positioned(done)})


@delete(
    "/v1/devices/{device_id:str}",
    operation_id="revokeDevice",
    tags=["Devices"],
    summary="Revoke a device, in force everywhere within a second",
    permission="devices.write",
    status_code=204,
    refusals=merged(CONDITION, WRITE, {404: (NOT_FOUND,)}),
)
async def revoke(
    device_id: FromPath[str],
    integrator: Integrator,
    services: Given,
    reason: FromQuery[RevocationReason] = "unspecified",
    if_match: IfMatch = None,
) -> Response[None]:
    found = path_id(PREFIX, device_id, NOT_FOUND)
    done = await services.devices.revoke(
        integrator, found, reason, expected_version(if_match, required=False)
    )
    return Response(None, status_code=204, headers=positioned(done))


HANDLERS = (register, index, show, issue_pairing_code, revoke)
