"""Outstanding one-time codes: counted, consumed once, and never kept in the clear.

The destination is sealed by the keyring, with a keyed digest beside it for look-ups; of the code
only the caller's keyed digest is kept. A challenge is deleted an hour after it has run out.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, LiteralString
from uuid import UUID

from application.ports import OtpAttempt, OtpChallenge
from domain.ids import ChallengeId, TenantId, UserId
from infrastructure.database import Pool, tenant_scope
from infrastructure.keys.keyring import Keyring

TRIES: Final = 5
REPEAT_WITHIN: Final = timedelta(seconds=60)
KEPT_AFTER_EXPIRY: Final = timedelta(hours=1)

_OPEN: Final[LiteralString] = """
    INSERT INTO otp_challenges (tenant_id, id, bound_to, destination_digest, destination_sealed,
                                code_digest, created_at, expires_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"""

_FORGET: Final[LiteralString] = """
    DELETE FROM otp_challenges WHERE tenant_id = %(tenant_id)s AND id IN (
        SELECT id FROM otp_challenges
        WHERE tenant_id = %(tenant_id)s AND expires_at < %(before)s
        LIMIT 100 FOR UPDATE SKIP LOCKED)"""

_DISCARD: Final[LiteralString] = (
    "DELETE FROM otp_challenges WHERE tenant_id = %s AND id = %s AND consumed_at IS NULL"
)

_FORGET_PERSON: Final[LiteralString] = """
    DELETE FROM otp_challenges
    WHERE tenant_id = %(tenant_id)s
      AND (user_id = %(user_id)s OR destination_digest = ANY(%(destinations)s))"""

_LATEST: Final[LiteralString] = """
    SELECT id, created_at, expires_at FROM otp_challenges
    WHERE tenant_id = %s AND bound_to = %s AND destination_digest = %s
      AND created_at >= %s AND consumed_at IS NULL
    ORDER BY created_at DESC, id DESC LIMIT 1"""

# One statement, so that concurrent attempts queue on the row and each sees what the one before
# it left. Every right-hand side reads the row as it was. Wrong tries are counted after the
# consumption too: else the minute in which a repeat is answered would be open to guessing.
_ATTEMPT: Final[LiteralString] = """
    UPDATE otp_challenges SET
        last_outcome = CASE
            WHEN consumed_at IS NOT NULL AND code_digest = %(code_digest)s
                 AND attempts < %(tries)s
                 AND consumed_at > %(repeat_since)s THEN 'repeated'
            WHEN consumed_at IS NOT NULL THEN 'consumed'
            WHEN attempts >= %(tries)s THEN 'locked'
            WHEN expires_at <= %(now)s THEN 'expired'
            WHEN code_digest = %(code_digest)s THEN 'right'
            ELSE 'wrong' END,
        consumed_at = CASE
            WHEN consumed_at IS NULL AND attempts < %(tries)s AND expires_at > %(now)s
                 AND code_digest = %(code_digest)s THEN %(now)s
            ELSE consumed_at END,
        attempts = CASE
            WHEN code_digest = %(code_digest)s OR attempts >= %(tries)s THEN attempts
            ELSE attempts + 1 END
    WHERE tenant_id = %(tenant_id)s AND id = %(id)s AND bound_to = %(bound_to)s
    RETURNING last_outcome, attempts, destination_sealed, user_id"""

_CONCLUDE: Final[LiteralString] = """
    UPDATE otp_challenges SET user_id = %s
    WHERE tenant_id = %s AND id = %s AND consumed_at IS NOT NULL"""


class PostgresOtpChallenges:
    """`OtpChallenges` over the table of that name; Postgres row locks are the arbiter."""

    def __init__(self, pool: Pool, keyring: Keyring) -> None:
        self._pool = pool
        self._keyring = keyring

    async def open(self, challenge: OtpChallenge, code_digest: str) -> None:
        """Keep a new challenge, and forget some of this tenant's that ran out an hour ago."""
        tenant_id = challenge.tenant_id
        sealed = self._keyring.seal(
            challenge.destination.encode(), _belongs_to(tenant_id, challenge.id)
        )
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(
                _OPEN,
                (
                    tenant_id,
                    challenge.id,
                    challenge.bound_to,
                    self._lookup(tenant_id, challenge.destination),
                    sealed,
                    code_digest,
                    challenge.created_at,
                    challenge.expires_at,
                ),
            )
            before = challenge.created_at - KEPT_AFTER_EXPIRY
            await connection.execute(_FORGET, {"tenant_id": tenant_id, "before": before})

    async def discard(self, tenant_id: TenantId, challenge_id: ChallengeId) -> None:
        """Forget a challenge whose code was never sent."""
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_DISCARD, (tenant_id, challenge_id))

    async def latest(
        self, tenant_id: TenantId, bound_to: UUID, destination: str, since: datetime
    ) -> OtpChallenge | None:
        """The newest challenge bound so, for this destination since then, if unconsumed."""
        async with tenant_scope(self._pool, tenant_id) as connection:
            found = await connection.execute(
                _LATEST, (tenant_id, bound_to, self._lookup(tenant_id, destination), since)
            )
            row = await found.fetchone()
        if row is None:
            return None
        challenge_id, created_at, expires_at = row
        return OtpChallenge(
            id=ChallengeId(challenge_id),
            tenant_id=tenant_id,
            bound_to=bound_to,
            destination=destination,
            created_at=created_at,
            expires_at=expires_at,
        )

    async def attempt(
        self,
        tenant_id: TenantId,
        bound_to: UUID,
        challenge_id: ChallengeId,
        code_digest: str,
        now: datetime,
    ) -> OtpAttempt:
        """Count one try, and consume the challenge if the digest is right; one winner at most.

        The destination is told for `right` and `repeated` only. Digests are keyed, so the time
        that a comparison takes says nothing about a code.
        """
        async with tenant_scope(self._pool, tenant_id) as connection:
            found = await connection.execute(
                _ATTEMPT,
                {
                    "tenant_id": tenant_id,
                    "bound_to": bound_to,
                    "id": challenge_id,
                    "code_digest": code_digest,
                    "now": now,
                    "repeat_since": now - REPEAT_WITHIN,
                    "tries": TRIES,
                },
            )
            row = await found.fetchone()
        if row is None:
            return OtpAttempt(outcome="unknown")
        outcome, attempts, sealed, user_id = row
        if outcome not in ("right", "repeated"):
            return OtpAttempt(outcome=outcome, attempts_left=TRIES - attempts)
        return OtpAttempt(
            outcome=outcome,
            destination=self._keyring.open(sealed, _belongs_to(tenant_id, challenge_id)).decode(),
            attempts_left=TRIES - attempts,
            user_id=user_id,
        )

    async def conclude(
        self, tenant_id: TenantId, challenge_id: ChallengeId, user_id: UserId
    ) -> None:
        """Remember whom a consumed challenge led to, so that a repeat gets the same answer."""
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_CONCLUDE, (user_id, tenant_id, challenge_id))

    async def forget(
        self, tenant_id: TenantId, user_id: UserId, destinations: Sequence[str]
    ) -> None:
        """Delete every challenge that led to the person or was sent to one of these."""
        digests = [self._lookup(tenant_id, destination) for destination in destinations]
        values = {"tenant_id": tenant_id, "user_id": user_id, "destinations": digests}
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_FORGET_PERSON, values)

    def _lookup(self, tenant_id: TenantId, destination: str) -> str:
        # Digests of two tenants never compare: who signs up where stays each tenant's own.
        return self._keyring.digest("otp_destination", f"{tenant_id}/{destination}")


def _belongs_to(tenant_id: TenantId, challenge_id: ChallengeId) -> str:
    return f"otp_challenges.destination_sealed/{tenant_id}/{challenge_id}"
