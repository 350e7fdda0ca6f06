"""Read model `palm_challenges`: the palms that were asked for at devices, and what came of it."""

from datetime import datetime
from typing import Final, LiteralString, get_args

import msgspec

from domain.events import Recorded
from domain.folding import UnexpectedEvent
from domain.ids import DeviceId, PalmChallengeId, PalmRef, TenantId, UserId
from domain.palm import Hand
from domain.palm_challenge import (
    ChallengePurpose,
    ChallengeReason,
    ChallengeResult,
    ChallengeStatus,
    DeclineReason,
    PalmChallengeAttemptDropped,
    PalmChallengeAttempted,
    PalmChallengeCancelled,
    PalmChallengeCompleted,
    PalmChallengeDeclined,
    PalmChallengeDelivered,
    PalmChallengeEvent,
    PalmChallengeExpired,
    PalmChallengeMissed,
    PalmChallengeOpened,
)
from projections.read_model import Connection, Page, ReadModel, page
from projections.stream_rows import StreamRows

DDL: Final = """
    CREATE TABLE palm_challenges (
        challenge_id  uuid        PRIMARY KEY,
        tenant_id     uuid        NOT NULL,
        version       bigint      NOT NULL,
        position      bigint      NOT NULL,
        last_position bigint      NOT NULL,
        user_id       uuid        NOT NULL,
        device_id     uuid        NOT NULL,
        purpose       text        NOT NULL,
        hand          text,
        replace       boolean     NOT NULL,
        status        text        NOT NULL,
        attempt       integer     NOT NULL,
        result        text,
        reason        text,
        hints         text[]      NOT NULL,
        palm_ref      uuid,
        scores        double precision[],
        opened_at     timestamptz NOT NULL,
        expires_at    timestamptz NOT NULL,
        delivered_at  timestamptz,
        ended_at      timestamptz
    );
    CREATE INDEX palm_challenges_listing ON palm_challenges (tenant_id, position);
    CREATE INDEX palm_challenges_user ON palm_challenges (tenant_id, user_id, position);
    CREATE INDEX palm_challenges_open ON palm_challenges (tenant_id, device_id)
        WHERE ended_at IS NULL;
"""


class PalmChallengeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One challenge. `reason` and `hints` are of the last attempt, or why the device declined."""

    challenge_id: PalmChallengeId
    tenant_id: TenantId
    version: int
    position: int
    last_position: int
    user_id: UserId
    device_id: DeviceId
    purpose: ChallengePurpose
    hand: Hand | None
    replace: bool
    status: ChallengeStatus
    attempt: int
    result: ChallengeResult | None
    reason: ChallengeReason | DeclineReason | None
    hints: tuple[str, ...]
    palm_ref: PalmRef | None
    scores: tuple[float, ...] | None
    opened_at: datetime
    expires_at: datetime
    delivered_at: datetime | None
    ended_at: datetime | None


def reduce(row: PalmChallengeRow | None, recorded: Recorded) -> PalmChallengeRow:
    """The challenge's row after one more fact."""
    event = recorded.event
    if isinstance(event, PalmChallengeOpened):
        return PalmChallengeRow(
            challenge_id=PalmChallengeId(recorded.stream_id),
            tenant_id=recorded.tenant_id,
            version=recorded.version,
            position=recorded.position,
            last_position=recorded.position,
            user_id=event.user_id,
            device_id=event.device_id,
            purpose=event.purpose,
            hand=event.hand,
            replace=event.replace,
            status="pending",
            attempt=0,
            result=None,
            reason=None,
            hints=(),
            palm_ref=None,
            scores=None,
            opened_at=recorded.recorded_at,
            expires_at=event.expires_at,
            delivered_at=None,
            ended_at=None,
        )
    if row is None:
        raise UnexpectedEvent(event)
    replace = msgspec.structs.replace
    at = recorded.recorded_at
    row = replace(row, version=recorded.version, last_position=recorded.position)
    match event:
        case PalmChallengeDelivered():
            return replace(row, status="delivered", delivered_at=at)
        case PalmChallengeAttempted():
            return replace(row, status="answering", attempt=event.attempt)
        case PalmChallengeAttemptDropped():
            return replace(row, status="delivered", attempt=event.attempt - 1)
        case PalmChallengeMissed():
            return replace(row, status="delivered", reason=event.reason, hints=event.hints)
        case PalmChallengeCompleted():
            return replace(
                row,
                status="completed",
                result=event.result,
                reason=event.reason,
                hints=event.hints,
                palm_ref=event.palm_ref,
                scores=event.scores if event.result == "match" else None,
                ended_at=at,
            )
        case PalmChallengeDeclined():
            return replace(row, status="declined", reason=event.reason, hints=(), ended_at=at)
        case PalmChallengeCancelled():
            return replace(row, status="cancelled", ended_at=at)
        case PalmChallengeExpired():
            return replace(row, status="expired", ended_at=at)
        case other:
            raise UnexpectedEvent(other)


READ_MODEL: Final = ReadModel(
    name="palm_challenges",
    version=1,
    tables=("palm_challenges",),
    ddl=DDL,
    listens_to=get_args(PalmChallengeEvent),
    project=StreamRows("palm_challenges", "challenge_id", PalmChallengeRow, reduce).project,
)

_BY_TENANT: Final[LiteralString] = """
    SELECT * FROM read_models.palm_challenges
    WHERE tenant_id = %(tenant_id)s
      AND (%(after)s::bigint IS NULL OR position < %(after)s)
      AND (%(status)s::text IS NULL OR status = %(status)s)
      AND (%(user_id)s::uuid IS NULL OR user_id = %(user_id)s)
    ORDER BY position DESC
    LIMIT %(limit)s
"""
_OPEN: Final[LiteralString] = """
    SELECT challenge_id FROM read_models.palm_challenges
    WHERE tenant_id = %s AND device_id = %s AND ended_at IS NULL
    ORDER BY position LIMIT %s
"""


async def by_tenant(
    connection: Connection,
    tenant_id: TenantId,
    *,
    status: ChallengeStatus | None = None,
    user_id: UserId | None = None,
    after: int | None = None,
    limit: int = 50,
) -> Page[PalmChallengeRow]:
    """A tenant's challenges, newest first."""
    parameters = {"tenant_id": tenant_id, "status": status, "user_id": user_id, "after": after}
    return await page(connection, _BY_TENANT, parameters, PalmChallengeRow, limit=limit)


async def open_of(
    connection: Connection, tenant_id: TenantId, device_id: DeviceId, limit: int
) -> list[PalmChallengeId]:
    """What a device is asked and nobody has ended, the oldest first."""
    cursor = await connection.execute(_OPEN, (tenant_id, device_id, limit))
    return [PalmChallengeId(row[0]) for row in await cursor.fetchall()]
