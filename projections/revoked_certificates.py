"""Read model `revoked_certificates`: what an edge must refuse before it opens its door.

An edge loads the whole set with the position up to which it holds, and follows the log from
there (reference edge.md §2). A fingerprint never leaves the set.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, LiteralString

import msgspec

from domain.device import DeviceRevoked
from domain.events import Recorded
from domain.ids import DeviceId, TenantId
from projections.read_model import Connection, ReadModel, fetch_one
from projections.stream_rows import json_rows, upsert

DDL: Final = """
    CREATE TABLE revoked_certificates (
        fingerprint text        PRIMARY KEY,
        tenant_id   uuid        NOT NULL,
        device_id   uuid        NOT NULL,
        position    bigint      NOT NULL,
        reason      text        NOT NULL,
        revoked_at  timestamptz NOT NULL
    );
"""


class RevokedCertificateRow(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate, by the SHA-256 of its DER form in hexadecimal."""

    fingerprint: str
    tenant_id: TenantId
    device_id: DeviceId
    position: int
    reason: str
    revoked_at: datetime


_UPSERT: Final = upsert("revoked_certificates", RevokedCertificateRow, "fingerprint")


def reduce(recorded: Recorded) -> Sequence[RevokedCertificateRow]:
    """The certificates that one revocation names: none for a device that never paired."""
    assert isinstance(recorded.event, DeviceRevoked)
    return [
        RevokedCertificateRow(
            fingerprint=fingerprint,
            tenant_id=recorded.tenant_id,
            device_id=DeviceId(recorded.stream_id),
            position=recorded.position,
            reason=recorded.event.reason,
            revoked_at=recorded.recorded_at,
        )
        for fingerprint in recorded.event.fingerprints
    ]


async def project(connection: Connection, events: Sequence[Recorded]) -> None:
    rows = {row.fingerprint: row for recorded in events for row in reduce(recorded)}
    if rows:
        await connection.execute(_UPSERT, (json_rows(list(rows.values())),))


READ_MODEL: Final = ReadModel(
    name="revoked_certificates",
    version=1,
    tables=("revoked_certificates",),
    ddl=DDL,
    listens_to=(DeviceRevoked,),
    project=project,
)

_BY_ID: Final[LiteralString] = """
    SELECT * FROM read_models.revoked_certificates
    WHERE tenant_id = %(tenant_id)s AND fingerprint = %(fingerprint)s
"""
# One statement is one snapshot: the set is exactly that of the position beside it. Where the read
# model stands still for a tenant, what it misses must be followed from the log too.
_WHOLE_SET: Final[LiteralString] = """
    SELECT coalesce((SELECT least(position, (SELECT min(h.position) - 1
                                             FROM public.projection_halts h
                                             WHERE h.name = 'revoked_certificates'))
                     FROM public.projection_positions
                     WHERE name = 'revoked_certificates'), 0),
           coalesce(array_agg(fingerprint), '{}')
    FROM read_models.revoked_certificates
"""


async def by_id(
    connection: Connection, tenant_id: TenantId, fingerprint: str
) -> RevokedCertificateRow | None:
    parameters = {"tenant_id": tenant_id, "fingerprint": fingerprint}
    return await fetch_one(connection, _BY_ID, parameters, RevokedCertificateRow)


async def whole_set(connection: Connection) -> tuple[int, frozenset[str]]:
    """(position, at least every revoked fingerprint of every tenant up to it).

    For the edge's start. It needs a connection of the projector role: the application's own
    role sees one tenant at a time and would be given an empty set.
    """
    cursor = await connection.execute(_WHOLE_SET)
    found = await cursor.fetchone()
    assert found is not None, "an aggregate without GROUP BY answers with one row"
    position, fingerprints = found
    return position, frozenset(fingerprints)
