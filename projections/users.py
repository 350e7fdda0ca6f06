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
    PersonalField,
    UserAccountLinked,
    UserAccountUnlinked,
    UserChanged,
    UserConsentGranted,
    UserConsentWithdrawn,
    UserErased,
    UserErasureStarted,
    UserEvent,
    UserKycChanged,
    UserPalmAdded,
    UserPalmRemovalStarted,
    UserPalmRemoved,
    UserPasswordRemoved,
    UserPasswordSet,
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
        kyc_level      text,
        fields         jsonb       NOT NULL,
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
    """One person. `consents` by purpose, `palms` by the palm's reference at the vendor.

    `fields` names what the vault holds, as far as it has been noted.
    """

    user_id: UserId
    tenant_id: TenantId
    version: int
    position: int
    last_position: int
    status: UserStatus
    kyc_status: KycStatus
    signed_up_by: str
    signed_up_at: datetime
    kyc_level: str | None
    fields: tuple[PersonalField, ...]
    consents: Mapping[str, ConsentShown]
    palms: Mapping[PalmRef, Hand]


_STATUS_AFTER: Final[Mapping[type[UserEvent], UserStatus]] = {
    UserSuspended: "suspended",
    UserResumed: "active",
    UserErasureStarted: "erasing",
    UserErased: "erased",
}


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
            kyc_level=None,
            fields=event.fields,
            consents={},
            palms={},
        )
    if row is None:
        raise UnexpectedEvent(event)
    replace = msgspec.structs.replace
    row = replace(row, version=recorded.version, last_position=recorded.position)
    match event:
        case UserChanged():
            return replace(row, fields=event.fields)
        case UserKycChanged():
            return replace(row, kyc_status=event.status, kyc_level=event.level)
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
        case UserSuspended() | UserResumed() | UserErasureStarted() | UserErased():
            return replace(row, status=_STATUS_AFTER[type(event)])
        case UserPalmAdded() | UserPalmRemovalStarted() | UserPalmRemoved():
            return replace(row, palms=_palms_after(row.palms, event))
        case (
            UserPasswordSet() | UserPasswordRemoved() | UserAccountLinked() | UserAccountUnlinked()
        ):
            return row
        case other:
            raise UnexpectedEvent(other)


def _palms_after(
    palms: Mapping[PalmRef, Hand],
    event: UserPalmAdded | UserPalmRemovalStarted | UserPalmRemoved,
) -> Mapping[PalmRef, Hand]:
    """Those that work: one whose removal has started does so no more."""
    match event:
        case UserPalmAdded():
            return {**palms, event.palm_ref: event.hand}
        case UserPalmRemovalStarted():
            return {ref: hand for ref, hand in palms.items() if ref != event.palm_ref}
        case UserPalmRemoved():
            return palms


READ_MODEL: Final = ReadModel(
    name="users",
    version=3,
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
_TO_ERASE: Final[LiteralString] = """
    SELECT user_id FROM read_models.users
    WHERE tenant_id = %s AND status NOT IN ('erasing', 'erased')
    ORDER BY position
    LIMIT %s
"""
_ANYBODY: Final[LiteralString] = """
    SELECT EXISTS (
        SELECT FROM read_models.users WHERE tenant_id = %s AND status <> 'erased'
    )
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


async def to_erase(connection: Connection, tenant_id: TenantId, limit: int) -> list[UserId]:
    """People whose erasure has not begun, the oldest first."""
    found = await connection.execute(_TO_ERASE, (tenant_id, limit))
    return [UserId(row[0]) for row in await found.fetchall()]


async def anybody(connection: Connection, tenant_id: TenantId) -> bool:
    """Whether there is somebody whose erasure is not completed."""
    found = await (await connection.execute(_ANYBODY, (tenant_id,))).fetchone()
    return found is not None and bool(found[0])
