"""Read model `users`: whom a tenant knows, what they agreed to, which palms are theirs.

No personal value is here: names, mobiles and e-mails are joined from the vault by whoever may
see them (design §6).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, LiteralString, get_args

import msgspec

from domain.events import Recorded
from domain.folding import UnexpectedEvent
from domain.ids import ConsentId, PalmRef, TenantId, UserId
from domain.palm import Hand
from domain.user import (
    KycStatus,
    UserConsentGranted,
    UserConsentWithdrawn,
    UserErased,
    UserErasureStarted,
    UserEvent,
    UserPalmAdded,
    UserPalmRemovalStarted,
    UserPalmRemoved,
    UserResumed,
    UserSignedUp,
    UserStatus,
    UserSuspended,
)
from projections.read_model import Connection, Page, ReadModel, fetch_one, page
from projections.stream_rows import StreamRows

DDL: Final = """
    CREATE TABLE users (
        user_id        uuid        PRIMARY KEY,
        tenant_id      uuid        NOT NULL,
        version        bigint      NOT NULL,
        position       bigint      NOT NULL,
        last_position  bigint      NOT NULL,
        status         text        NOT NULL,
        kyc_status     text        NOT NULL,
        signed_up_by   text        NOT NULL,
        signed_up_at   timestamptz NOT NULL,
        consents       jsonb       NOT NULL,
        palms          jsonb       NOT NULL
    );
    CREATE INDEX users_listing ON users (tenant_id, position);
"""


class ConsentShown(msgspec.Struct, frozen=True, kw_only=True):
    """What the person last said about one purpose."""

    id: ConsentId
    version: str
    granted: bool
    granted_at: datetime
    withdrawn_at: datetime | None = None


class UserRow(msgspec.Struct, frozen=True, kw_only=True):
    """One person. `consents` by purpose, `palms` by the palm's reference at the vendor."""

    user_id: UserId
    tenant_id: TenantId
    version: int
    position: int
    last_position: int
    status: UserStatus
    kyc_status: KycStatus
    signed_up_by: str
    signed_up_at: datetime
    consents: Mapping[str, ConsentShown]
    palms: Mapping[PalmRef, Hand]


def reduce(row: UserRow | None, recorded: Recorded) -> UserRow:
    """The person's row after one more fact."""
    event = recorded.event
    if isinstance(event, UserSignedUp):
        return UserRow(
            user_id=UserId(recorded.stream_id),
            tenant_id=recorded.tenant_id,
            version=recorded.version,
            position=recorded.position,
            last_position=recorded.position,
            status="active",
            kyc_status="none",
            signed_up_by=event.method,
            signed_up_at=recorded.recorded_at,
            consents={},
            palms={},
        )
    if row is None:
        raise UnexpectedEvent(event)
    replace = msgspec.structs.replace
    row = replace(row, version=recorded.version, last_position=recorded.position)
    match event:
        case UserConsentGranted():
            consent = ConsentShown(
                id=event.consent_id,
                version=event.consent_version,
                granted=True,
                granted_at=recorded.recorded_at,
            )
            return replace(row, consents={**row.consents, event.consent_type: consent})
        case UserConsentWithdrawn():
            consent = replace(
                row.consents[event.consent_type], granted=False, withdrawn_at=recorded.recorded_at
            )
            return replace(row, consents={**row.consents, event.consent_type: consent})
        case UserSuspended():
            return replace(row, status="suspended")
        case UserResumed():
            return replace(row, status="active")
        case UserErasureStarted():
            return replace(row, status="erasing")
        case UserErased():
            return replace(row, status="erased")
        case UserPalmAdded():
            return replace(row, palms={**row.palms, event.palm_ref: event.hand})
        case UserPalmRemovalStarted():
            left = {ref: hand for ref, hand in row.palms.items() if ref != event.palm_ref}
            return replace(row, palms=left)
        case UserPalmRemoved():
            return row
        case other:
            raise UnexpectedEvent(other)


READ_MODEL: Final = ReadModel(
    name="users",
    version=2,
    tables=("users",),
    ddl=DDL,
    listens_to=get_args(UserEvent),
    project=StreamRows("users", "user_id", UserRow, reduce).project,
)

_BY_ID: Final[LiteralString] = """
    SELECT * FROM read_models.users
    WHERE tenant_id = %(tenant_id)s AND user_id = %(user_id)s
"""
_BY_TENANT: Final[LiteralString] = """
    SELECT * FROM read_models.users
    WHERE tenant_id = %(tenant_id)s
      AND position > coalesce(%(after)s::bigint, 0)
      AND (%(status)s::text IS NULL OR status = %(status)s)
    ORDER BY position
    LIMIT %(limit)s
"""


async def by_id(connection: Connection, tenant_id: TenantId, user_id: UserId) -> UserRow | None:
    return await fetch_one(
        connection, _BY_ID, {"tenant_id": tenant_id, "user_id": user_id}, UserRow
    )


async def by_tenant(
    connection: Connection,
    tenant_id: TenantId,
    *,
    status: UserStatus | None = None,
    after: int | None = None,
    limit: int = 50,
) -> Page[UserRow]:
    """A tenant's people in the order of their sign-up."""
    parameters = {"tenant_id": tenant_id, "status": status, "after": after}
    return await page(connection, _BY_TENANT, parameters, UserRow, limit=limit)
