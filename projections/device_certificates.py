"""Read model `device_certificates`: every certificate a device was given, and how far it counts.

From it come the CRLs, and who still speaks with a certificate of a device CA that is to go.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, LiteralString

import msgspec

from domain.device import (
    DeviceCertificateRenewed,
    DeviceCertificateTakenIntoUse,
    DevicePaired,
    DeviceRevoked,
)
from domain.events import Recorded
from domain.ids import DeviceId, TenantId
from projections.read_model import Connection, ReadModel, fetch_all
from projections.stream_rows import json_rows

DDL: Final = """
    CREATE TABLE device_certificates (
        fingerprint  text        NOT NULL,
        tenant_id    uuid        NOT NULL,
        device_id    uuid        NOT NULL,
        position     bigint      NOT NULL,
        authority    integer     NOT NULL,
        serial       text        NOT NULL,
        issued_at    timestamptz NOT NULL,
        not_after    timestamptz NOT NULL,
        in_use       boolean     NOT NULL,
        ended_at     timestamptz,
        ended_reason text,
        PRIMARY KEY (device_id, fingerprint)
    );
    CREATE INDEX device_certificates_ended ON device_certificates (authority, ended_at)
        WHERE ended_at IS NOT NULL;
    CREATE INDEX device_certificates_in_use ON device_certificates (authority, position)
        WHERE in_use;
"""


class DeviceCertificateRow(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate. `authority` numbers our device CAs; `serial` is hexadecimal.

    `in_use`: the device was last known to speak with it. From `ended_at` on, which may be still to
    come, it opens nothing.
    """

    fingerprint: str
    tenant_id: TenantId
    device_id: DeviceId
    position: int
    authority: int
    serial: str
    issued_at: datetime
    not_after: datetime
    in_use: bool
    ended_at: datetime | None
    ended_reason: str | None


class EndedRow(msgspec.Struct, frozen=True, kw_only=True):
    serial: str
    ended_at: datetime
    ended_reason: str


class HolderRow(msgspec.Struct, frozen=True, kw_only=True):
    """A device that speaks with a certificate of one of our device CAs."""

    tenant_id: TenantId
    device_id: DeviceId
    authority: int
    not_after: datetime


SUPERSEDED: Final = "superseded"

_ADD: Final[LiteralString] = """
    INSERT INTO device_certificates
    SELECT * FROM json_populate_recordset(NULL::device_certificates, %s::json)
    ON CONFLICT DO NOTHING
"""
_END_OTHERS: Final[LiteralString] = """
    UPDATE device_certificates SET ended_at = %(at)s, ended_reason = %(reason)s
    WHERE device_id = %(device_id)s AND NOT fingerprint = ANY(%(but)s)
      AND (ended_at IS NULL OR ended_at > %(at)s)
"""
_USE: Final[LiteralString] = """
    UPDATE device_certificates SET in_use = (fingerprint = %(fingerprint)s)
    WHERE device_id = %(device_id)s AND in_use <> (fingerprint = %(fingerprint)s)
"""


async def project(connection: Connection, events: Sequence[Recorded]) -> None:
    for recorded in events:
        await _follow(connection, recorded)


async def _follow(connection: Connection, recorded: Recorded) -> None:
    at = recorded.recorded_at
    match recorded.event:
        case DevicePaired() as event:
            await _end_others(connection, recorded, at, SUPERSEDED, ())
            await _add(connection, recorded, event)
            await _use(connection, recorded, event.fingerprint)
        case DeviceCertificateRenewed() as event:
            # Of three, the one that the device did not show is gone.
            await _end_others(connection, recorded, at, SUPERSEDED, (event.replaces,))
            await _add(connection, recorded, event)
        case DeviceCertificateTakenIntoUse() as event:
            kept = (event.fingerprint,)
            await _end_others(connection, recorded, event.superseded_at, SUPERSEDED, kept)
            await _use(connection, recorded, event.fingerprint)
        case DeviceRevoked() as event:
            await _end_others(connection, recorded, at, event.reason, ())
        case other:
            raise AssertionError(f"not listened to: {other}")


async def _add(
    connection: Connection, recorded: Recorded, event: DevicePaired | DeviceCertificateRenewed
) -> None:
    row = DeviceCertificateRow(
        fingerprint=event.fingerprint,
        tenant_id=recorded.tenant_id,
        device_id=DeviceId(recorded.stream_id),
        position=recorded.position,
        authority=event.authority,
        serial=event.certificate_serial,
        issued_at=recorded.recorded_at,
        not_after=event.not_after,
        in_use=False,
        ended_at=None,
        ended_reason=None,
    )
    await connection.execute(_ADD, (json_rows([row]),))


async def _use(connection: Connection, recorded: Recorded, fingerprint: str) -> None:
    given = {"device_id": recorded.stream_id, "fingerprint": fingerprint}
    await connection.execute(_USE, given)


async def _end_others(
    connection: Connection, recorded: Recorded, at: datetime, reason: str, but: Sequence[str]
) -> None:
    given: dict[str, Any] = {"device_id": recorded.stream_id, "at": at, "reason": reason}
    await connection.execute(_END_OTHERS, given | {"but": list(but)})


READ_MODEL: Final = ReadModel(
    name="device_certificates",
    version=1,
    tables=("device_certificates",),
    ddl=DDL,
    listens_to=(
        DevicePaired,
        DeviceCertificateRenewed,
        DeviceCertificateTakenIntoUse,
        DeviceRevoked,
    ),
    project=project,
)

_ENDED: Final[LiteralString] = """
    SELECT serial, ended_at, ended_reason FROM read_models.device_certificates
    WHERE authority = %(authority)s AND ended_at <= %(now)s AND not_after > %(valid_after)s
    ORDER BY serial
"""
_HOLDERS: Final[LiteralString] = """
    SELECT tenant_id, device_id, authority, not_after FROM read_models.device_certificates
    WHERE in_use AND authority <> %(authority)s AND (ended_at IS NULL OR ended_at > %(now)s)
    ORDER BY not_after, position
    LIMIT %(limit)s
"""
_COUNTS: Final[LiteralString] = """
    SELECT authority, count(*) FROM read_models.device_certificates
    WHERE in_use AND (ended_at IS NULL OR ended_at > %(now)s)
    GROUP BY authority
"""
_CERTIFIED_BEFORE: Final[LiteralString] = """
    SELECT count(*) FROM read_models.device_certificates
    WHERE in_use AND issued_at < %(since)s AND (ended_at IS NULL OR ended_at > %(now)s)
"""


async def ended(
    connection: Connection, authority: int, now: datetime, valid_after: datetime
) -> list[EndedRow]:
    """Of all tenants: what a CRL of this authority lists. Needs the projector's role."""
    given = {"authority": authority, "now": now, "valid_after": valid_after}
    return await fetch_all(connection, _ENDED, given, EndedRow)


async def holders_of_others(
    connection: Connection, authority: int, now: datetime, limit: int
) -> list[HolderRow]:
    """Devices of all tenants that speak with a certificate of another device CA than this one,
    those first whose certificates end first. Needs the projector's role."""
    given = {"authority": authority, "now": now, "limit": limit}
    return await fetch_all(connection, _HOLDERS, given, HolderRow)


async def counts(connection: Connection, now: datetime) -> dict[int, int]:
    """How many devices of all tenants speak with certificates of each device CA."""
    cursor = await connection.execute(_COUNTS, {"now": now})
    return dict(await cursor.fetchall())


async def certified_before(connection: Connection, since: datetime, now: datetime) -> int:
    """How many devices of all tenants speak with a certificate that they were given before."""
    cursor = await connection.execute(_CERTIFIED_BEFORE, {"since": since, "now": now})
    row = await cursor.fetchone()
    assert row is not None, "a count has a row"
    return int(row[0])
