"""Read model `webhook_identities`: when a tenant's client certificate for webhooks runs out."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, LiteralString, get_args

import msgspec

from domain.events import Recorded
from domain.ids import TenantId, WebhookIdentityId
from domain.webhook_identity import (
    WebhookCertificateExpiring,
    WebhookCertificateInstalled,
    WebhookIdentityEvent,
)
from projections.read_model import Connection, Page, ReadModel, page
from projections.stream_rows import StreamRows

DDL: Final = """
    CREATE TABLE webhook_identities (
        identity_id        uuid        PRIMARY KEY,
        tenant_id          uuid        NOT NULL,
        version            bigint      NOT NULL,
        position           bigint      NOT NULL,
        last_position      bigint      NOT NULL,
        fingerprint_sha256 text,
        not_after          timestamptz,
        active_from        timestamptz,
        warned             integer
    );
    CREATE INDEX webhook_identities_ending ON webhook_identities (not_after);
"""


class WebhookIdentityRow(msgspec.Struct, frozen=True, kw_only=True):
    """The newest certificate of a tenant's CA; nothing is known of it while there is none.

    `warned` is the fewest days before its end that have been told of."""

    identity_id: WebhookIdentityId
    tenant_id: TenantId
    version: int
    position: int
    last_position: int
    fingerprint_sha256: str | None = None
    not_after: datetime | None = None
    active_from: datetime | None = None
    warned: int | None = None


def reduce(row: WebhookIdentityRow | None, recorded: Recorded) -> WebhookIdentityRow:
    """The tenant's row after one more fact."""
    row = row or WebhookIdentityRow(
        identity_id=WebhookIdentityId(recorded.stream_id),
        tenant_id=recorded.tenant_id,
        version=recorded.version,
        position=recorded.position,
        last_position=recorded.position,
    )
    row = msgspec.structs.replace(row, version=recorded.version, last_position=recorded.position)
    match recorded.event:
        case WebhookCertificateInstalled() as event:
            return msgspec.structs.replace(
                row,
                fingerprint_sha256=event.fingerprint_sha256,
                not_after=event.not_after,
                active_from=event.active_from,
                warned=None,
            )
        case WebhookCertificateExpiring() as event:
            return msgspec.structs.replace(row, warned=event.days)
        case _:
            return row


READ_MODEL: Final = ReadModel(
    name="webhook_identities",
    version=1,
    tables=("webhook_identities",),
    ddl=DDL,
    listens_to=get_args(WebhookIdentityEvent),
    project=StreamRows("webhook_identities", "identity_id", WebhookIdentityRow, reduce).project,
)

_BY_TENANT: Final[LiteralString] = """
    SELECT * FROM read_models.webhook_identities
    WHERE tenant_id = %(tenant_id)s AND position > coalesce(%(after)s::bigint, 0)
    ORDER BY position LIMIT %(limit)s
"""
_DUE: Final[LiteralString] = """
    SELECT tenant_id FROM read_models.webhook_identities
    WHERE not_after <= %(now)s + interval '30 days'
      AND coalesce(warned, 99) > CASE
            WHEN not_after <= %(now)s THEN 0
            WHEN not_after <= %(now)s + interval '1 day' THEN 1
            WHEN not_after <= %(now)s + interval '7 days' THEN 7
            ELSE 30 END
    ORDER BY not_after LIMIT %(limit)s
"""


async def by_tenant(
    connection: Connection, tenant_id: TenantId, *, after: int | None = None, limit: int = 50
) -> Page[WebhookIdentityRow]:
    parameters = {"tenant_id": tenant_id, "after": after}
    return await page(connection, _BY_TENANT, parameters, WebhookIdentityRow, limit=limit)


async def due(connection: Connection, now: datetime, limit: int) -> Sequence[TenantId]:
    """Of whom to be warned, of all tenants; for a connection of the projector role.

    The days are those of `domain.webhook_identity.WARN_DAYS`.
    """
    cursor = await connection.execute(_DUE, {"now": now, "limit": limit})
    return [TenantId(row[0]) for row in await cursor.fetchall()]
