"""Read model `devices`: every device with its binding, its certificate and where it stands."""

from datetime import datetime
from typing import Final, LiteralString, get_args

import msgspec

from domain.attestation import Assurance, RequiredLevel
from domain.device import (
    DeviceCertificateRenewed,
    DeviceCertificateTakenIntoUse,
    DeviceEvent,
    DeviceLocked,
    DevicePaired,
    DevicePairingCodeIssued,
    DeviceRegistered,
    DeviceRevoked,
    DeviceStatus,
    DeviceType,
    DeviceUnlocked,
)
from domain.events import Recorded
from domain.folding import UnexpectedEvent
from domain.ids import DeviceId, TenantId, UserId
from projections.read_model import Connection, Page, ReadModel, fetch_all, fetch_one, page
from projections.stream_rows import StreamRows

DDL: Final = """
    CREATE TABLE devices (
        device_id           uuid        PRIMARY KEY,
        tenant_id           uuid        NOT NULL,
        version             bigint      NOT NULL,
        position            bigint      NOT NULL,
        last_position       bigint      NOT NULL,
        type                text        NOT NULL,
        name                text        NOT NULL,
        serial              text,
        bound_product       text,
        bound_action        text,
        bound_user          uuid,
        small_model_capable boolean     NOT NULL,
        status              text        NOT NULL,
        code_expires_at     timestamptz,
        fingerprint         text,
        certificate_serial  text,
        certificate_not_after timestamptz,
        registered_at       timestamptz NOT NULL,
        paired_at           timestamptz,
        revoked_at          timestamptz,
        revoked_reason      text,
        locked              boolean     NOT NULL,
        batch               text,
        attestation         text        NOT NULL,
        assurance           text        NOT NULL
    );
    CREATE INDEX devices_listing ON devices (tenant_id, position);
    CREATE INDEX devices_batch ON devices (tenant_id, batch) WHERE batch IS NOT NULL;
    CREATE INDEX devices_binding ON devices (tenant_id, bound_product);
"""


class DeviceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One device. `version` is its stream's (the ETag); `position` orders listings.

    The certificate is the newest it may speak with: none before pairing and after revocation.
    `attestation` is what it must prove to be paired, `assurance` what it did prove.
    """

    device_id: DeviceId
    tenant_id: TenantId
    version: int
    position: int
    last_position: int
    type: DeviceType
    name: str
    serial: str | None
    bound_product: str | None
    bound_action: str | None
    bound_user: UserId | None
    small_model_capable: bool
    status: DeviceStatus
    code_expires_at: datetime | None
    fingerprint: str | None
    certificate_serial: str | None
    certificate_not_after: datetime | None
    registered_at: datetime
    paired_at: datetime | None
    revoked_at: datetime | None
    revoked_reason: str | None
    locked: bool
    batch: str | None = None
    attestation: RequiredLevel
    assurance: Assurance


def reduce(row: DeviceRow | None, recorded: Recorded) -> DeviceRow:
    """The device's row after one more fact."""
    event = recorded.event
    if isinstance(event, DeviceRegistered):
        return _registered(recorded, event)
    if row is None:
        raise UnexpectedEvent(event)
    replace = msgspec.structs.replace
    row = replace(row, version=recorded.version, last_position=recorded.position)
    match event:
        case DevicePairingCodeIssued():
            return replace(row, status="pending_pairing", code_expires_at=event.expires_at)
        case DevicePaired():
            return replace(
                row,
                status="active",
                code_expires_at=None,
                fingerprint=event.fingerprint,
                certificate_serial=event.certificate_serial,
                certificate_not_after=event.not_after,
                paired_at=recorded.recorded_at,
                assurance="unattested" if event.attestation is None else event.attestation.level,
            )
        case DeviceRevoked():
            return replace(
                row,
                status="revoked",
                code_expires_at=None,
                fingerprint=None,
                certificate_serial=None,
                certificate_not_after=None,
                revoked_at=recorded.recorded_at,
                revoked_reason=event.reason,
            )
        case DeviceCertificateRenewed():
            return replace(
                row,
                fingerprint=event.fingerprint,
                certificate_serial=event.certificate_serial,
                certificate_not_after=event.not_after,
            )
        case DeviceCertificateTakenIntoUse():
            return row
        case DeviceLocked():
            return replace(row, locked=True)
        case DeviceUnlocked():
            return replace(row, locked=False)
        case other:
            raise UnexpectedEvent(other)


def _registered(recorded: Recorded, event: DeviceRegistered) -> DeviceRow:
    return DeviceRow(
        device_id=DeviceId(recorded.stream_id),
        tenant_id=recorded.tenant_id,
        version=recorded.version,
        position=recorded.position,
        last_position=recorded.position,
        type=event.type,
        name=event.name,
        serial=event.serial,
        bound_product=event.bound_product,
        bound_action=event.bound_action,
        bound_user=event.bound_user,
        small_model_capable=event.small_model_capable,
        status="pending_pairing",
        code_expires_at=None,
        fingerprint=None,
        certificate_serial=None,
        certificate_not_after=None,
        registered_at=recorded.recorded_at,
        paired_at=None,
        revoked_at=None,
        revoked_reason=None,
        locked=False,
        batch=event.batch,
        attestation=event.attestation,
        assurance="unattested",
    )


READ_MODEL: Final = ReadModel(
    name="devices",
    version=6,
    tables=("devices",),
    ddl=DDL,
    listens_to=get_args(DeviceEvent),
    project=StreamRows("devices", "device_id", DeviceRow, reduce).project,
)

_BY_ID: Final[LiteralString] = """
    SELECT * FROM read_models.devices
    WHERE tenant_id = %(tenant_id)s AND device_id = %(device_id)s
"""
_BY_TENANT: Final[LiteralString] = """
    SELECT * FROM read_models.devices
    WHERE tenant_id = %(tenant_id)s
      AND position > coalesce(%(after)s::bigint, 0)
      AND (%(status)s::text IS NULL OR status = %(status)s)
      AND (%(type)s::text IS NULL OR type = %(type)s)
      AND (%(bound_product)s::text IS NULL OR bound_product = %(bound_product)s)
      AND (%(batch)s::text IS NULL OR batch = %(batch)s)
    ORDER BY position
    LIMIT %(limit)s
"""
_BOUND_TO: Final[LiteralString] = """
    SELECT count(*) FROM read_models.devices
    WHERE tenant_id = %s AND bound_product = %s AND status <> 'revoked'
"""


_OF_BATCH: Final[LiteralString] = """
    SELECT * FROM read_models.devices
    WHERE tenant_id = %(tenant_id)s AND batch = %(batch)s
    ORDER BY position
"""


async def of_batch(connection: Connection, tenant_id: TenantId, batch: str) -> list[DeviceRow]:
    """All devices of a batch in the order of their registration."""
    given = {"tenant_id": tenant_id, "batch": batch}
    return await fetch_all(connection, _OF_BATCH, given, DeviceRow)


async def by_id(
    connection: Connection, tenant_id: TenantId, device_id: DeviceId
) -> DeviceRow | None:
    return await fetch_one(
        connection, _BY_ID, {"tenant_id": tenant_id, "device_id": device_id}, DeviceRow
    )


async def by_tenant(
    connection: Connection,
    tenant_id: TenantId,
    *,
    status: DeviceStatus | None = None,
    device_type: DeviceType | None = None,
    bound_product: str | None = None,
    batch: str | None = None,
    after: int | None = None,
    limit: int = 50,
) -> Page[DeviceRow]:
    """A tenant's devices in the order of their registration."""
    parameters = {
        "tenant_id": tenant_id,
        "status": status,
        "type": device_type,
        "bound_product": bound_product,
        "batch": batch,
        "after": after,
    }
    return await page(connection, _BY_TENANT, parameters, DeviceRow, limit=limit)


async def bound_to(connection: Connection, tenant_id: TenantId, product_key: str) -> int:
    """How many devices would lose their product: those bound to it and not revoked."""
    cursor = await connection.execute(_BOUND_TO, (tenant_id, product_key))
    found = await cursor.fetchone()
    assert found is not None, "count(*) answers with one row"
    count: int = found[0]
    return count
