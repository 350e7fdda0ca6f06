"""Read model `operators`: the console people of a tenant, or of the platform, and what they may."""

from datetime import datetime
from typing import Final, LiteralString, get_args

import msgspec

from domain.events import Recorded
from domain.folding import UnexpectedEvent
from domain.ids import OperatorId, TenantId
from domain.operator import (
    MailOutcome,
    OperatorAccepted,
    OperatorEvent,
    OperatorInvitationMailed,
    OperatorInvited,
    OperatorPasskeyAdded,
    OperatorPasskeyRemoved,
    OperatorRecovered,
    OperatorRemoved,
    OperatorResumed,
    OperatorRoleChanged,
    OperatorSeeded,
    OperatorSuspended,
    OperatorTotpEnrolled,
    OperatorTotpRemoved,
    Role,
    Status,
)
from projections.read_model import Connection, Page, ReadModel, page
from projections.stream_rows import StreamRows

DDL: Final = """
    CREATE TABLE operators (
        operator_id   uuid        PRIMARY KEY,
        tenant_id     uuid        NOT NULL,
        version       bigint      NOT NULL,
        position      bigint      NOT NULL,
        last_position bigint      NOT NULL,
        role          text        NOT NULL,
        status        text        NOT NULL,
        invited_until timestamptz,
        totp          boolean     NOT NULL,
        passkeys      integer     NOT NULL,
        invitation_mail text,
        since         timestamptz NOT NULL,
        changed_at    timestamptz NOT NULL
    );
    CREATE INDEX operators_listing ON operators (tenant_id, position);
"""


class OperatorRow(msgspec.Struct, frozen=True, kw_only=True):
    """One console person, without name and address, which no event has."""

    operator_id: OperatorId
    tenant_id: TenantId
    version: int
    position: int
    last_position: int
    role: Role
    status: Status
    invited_until: datetime | None
    totp: bool
    passkeys: int
    invitation_mail: MailOutcome | None = None
    since: datetime
    changed_at: datetime


def reduce(row: OperatorRow | None, recorded: Recorded) -> OperatorRow:
    """The person's row after one more fact."""
    event = recorded.event
    if row is None:
        return _first(recorded)
    row = msgspec.structs.replace(
        row,
        version=recorded.version,
        last_position=recorded.position,
        changed_at=recorded.recorded_at,
    )
    changes = _CHANGES.get(type(event), {})
    match event:
        case OperatorInvited(expires_at=expires_at):
            changes = {"invited_until": expires_at, "invitation_mail": None}
        case OperatorInvitationMailed(outcome=outcome):
            changes = {"invitation_mail": outcome}
        case OperatorRoleChanged(role=role):
            changes = {"role": role}
        case OperatorPasskeyAdded():
            changes = {"passkeys": row.passkeys + 1}
        case OperatorPasskeyRemoved():
            changes = {"passkeys": row.passkeys - 1}
        case _:
            pass
    return msgspec.structs.replace(row, **changes)


_CHANGES: Final[dict[type, dict[str, object]]] = {
    OperatorAccepted: {"status": "active", "invited_until": None, "invitation_mail": None},
    OperatorSuspended: {"status": "suspended"},
    OperatorResumed: {"status": "active"},
    OperatorRemoved: {"status": "removed"},
    OperatorTotpEnrolled: {"totp": True},
    OperatorTotpRemoved: {"totp": False},
    OperatorRecovered: {"totp": False, "passkeys": 0},
}
"""What a fact makes of a row, whatever the row is."""


def _first(recorded: Recorded) -> OperatorRow:
    event = recorded.event
    if not isinstance(event, OperatorInvited | OperatorSeeded):
        raise UnexpectedEvent(event)
    invited = isinstance(event, OperatorInvited)
    return OperatorRow(
        operator_id=OperatorId(recorded.stream_id),
        tenant_id=recorded.tenant_id,
        version=recorded.version,
        position=recorded.position,
        last_position=recorded.position,
        role=event.role if isinstance(event, OperatorInvited) else "platform_admin",
        status="invited" if invited else "active",
        invited_until=event.expires_at if isinstance(event, OperatorInvited) else None,
        totp=False,
        passkeys=0,
        since=recorded.recorded_at,
        changed_at=recorded.recorded_at,
    )


READ_MODEL: Final = ReadModel(
    name="operators",
    version=4,
    tables=("operators",),
    ddl=DDL,
    listens_to=get_args(OperatorEvent),
    project=StreamRows("operators", "operator_id", OperatorRow, reduce).project,
)

_BY_TENANT: Final[LiteralString] = """
    SELECT * FROM read_models.operators
    WHERE tenant_id = %(tenant_id)s
      AND position > coalesce(%(after)s::bigint, 0)
      AND status <> 'removed'
    ORDER BY position
    LIMIT %(limit)s
"""


async def by_tenant(
    connection: Connection, tenant_id: TenantId, *, after: int | None = None, limit: int = 50
) -> Page[OperatorRow]:
    """In the order in which they were invited, without who was removed."""
    parameters = {"tenant_id": tenant_id, "after": after}
    return await page(connection, _BY_TENANT, parameters, OperatorRow, limit=limit)
