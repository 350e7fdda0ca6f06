"""Read model `accesses`: who was shown values of a person, when and what for.

It is the person's right and no part of the audit that `audit_enabled` governs: every access is
here, whatever the tenant has set.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from domain.events import Recorded
from domain.ids import TenantId, UserId
from domain.personal_data import AccessPurpose, PersonalDataAccessed
from projections.read_model import Connection, Page, ReadModel, page
from projections.stream_rows import json_rows, upsert

DDL: Final = """
    CREATE TABLE accesses (
        position       bigint      PRIMARY KEY,
        tenant_id      uuid        NOT NULL,
        user_id        uuid        NOT NULL,
        accessed_at    timestamptz NOT NULL,
        actor          text        NOT NULL,
        purpose        text        NOT NULL,
        reference      text,
        operation      text        NOT NULL,
        fields         text[]      NOT NULL,
        correlation_id uuid        NOT NULL
    );
    CREATE INDEX accesses_listing ON accesses (tenant_id, user_id, position);
"""


class AccessRow(msgspec.Struct, frozen=True, kw_only=True):
    """One access. `fields` names what was shown; the values are nowhere but in the vault."""

    position: int
    tenant_id: TenantId
    user_id: UserId
    accessed_at: datetime
    actor: str
    purpose: AccessPurpose
    reference: str | None
    operation: str
    fields: tuple[str, ...]
    correlation_id: UUID


_UPSERT: Final = upsert("accesses", AccessRow, "position")


def line(recorded: Recorded, event: PersonalDataAccessed) -> AccessRow:
    return AccessRow(
        position=recorded.position,
        tenant_id=recorded.tenant_id,
        user_id=event.user_id,
        accessed_at=recorded.recorded_at,
        actor=recorded.actor,
        purpose=event.purpose,
        reference=event.reference,
        operation=event.operation,
        fields=event.fields,
        correlation_id=recorded.correlation_id,
    )


async def project(connection: Connection, events: Sequence[Recorded]) -> None:
    rows = [
        line(recorded, recorded.event)
        for recorded in events
        if isinstance(recorded.event, PersonalDataAccessed)
    ]
    if rows:
        await connection.execute(_UPSERT, (json_rows(rows),))


READ_MODEL: Final = ReadModel(
    name="accesses",
    version=1,
    tables=("accesses",),
    ddl=DDL,
    listens_to=(PersonalDataAccessed,),
    project=project,
)

_BY_USER: Final[LiteralString] = """
    SELECT * FROM read_models.accesses
    WHERE tenant_id = %(tenant_id)s AND user_id = %(user_id)s
      AND (%(after)s::bigint IS NULL OR position < %(after)s)
    ORDER BY position DESC
    LIMIT %(limit)s
"""


async def by_user(
    connection: Connection,
    tenant_id: TenantId,
    user_id: UserId,
    *,
    after: int | None = None,
    limit: int = 50,
) -> Page[AccessRow]:
    """Who looked at this person, newest first."""
    parameters = {"tenant_id": tenant_id, "user_id": user_id, "after": after}
    return await page(connection, _BY_USER, parameters, AccessRow, limit=limit)
