"""One-time codes: sent to an address, and good for one purpose of one asker.

A challenge is bound to a device, or to what `binding` makes of a purpose and who asks. With
another binding it is as if it were not there.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid5

import msgspec

from application.ports import (
    Clock,
    Digests,
    IdSource,
    OtpAttempt,
    OtpChallenge,
    OtpChallenges,
    OtpSender,
    RateLimiter,
)
from domain.errors import Conflict, Gone, Invalid, NotFound, TooMany, Unavailable
from domain.ids import ChallengeId, TenantId

CODE_LENGTH: Final = 6
CODE_LIFETIME_S: Final = 300
RESEND_AFTER_S: Final = 30


class Challenged(msgspec.Struct, frozen=True, kw_only=True):
    challenge_id: ChallengeId
    expires_in_s: int
    resend_after_s: int
    code_length: int


class Budget(msgspec.Struct, frozen=True):
    """How many codes may go out, counted by what `key` names."""

    name: str
    key: str
    limit: int
    per_s: int


def binding(tenant_id: TenantId, purpose: str, asker: str) -> UUID:
    """What a code is bound to that no device asks for."""
    return uuid5(tenant_id, f"one_time_code:{purpose}:{asker}")


class OneTimeCodes:
    def __init__(
        self,
        challenges: OtpChallenges,
        limiter: RateLimiter,
        digests: Digests,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._challenges = challenges
        self._limiter = limiter
        self._digests = digests
        self._clock = clock
        self._ids = ids

    async def send(
        self,
        sender: OtpSender | None,
        tenant_id: TenantId,
        bound_to: UUID,
        destination: str,
        locale: str,
        budgets: Sequence[Budget],
    ) -> Challenged:
        """Send a code. A repeat within half a minute sends nothing and answers the same.

        Without a `sender` nothing goes out and everything else is the same, for an address that
        nobody may be told is unknown. Raises TooMany (`rate_limited`) and Unavailable
        (`otp_not_sent`), after which a repeat sends again.
        """
        now = self._clock.now()
        latest = await self._challenges.latest(
            tenant_id, bound_to, destination, now - timedelta(seconds=RESEND_AFTER_S)
        )
        if latest is not None:
            return _challenged(latest, now)
        for each in budgets:
            if not await self._limiter.hit(each.name, each.key, limit=each.limit, per_s=each.per_s):
                raise TooMany("rate_limited", retry_after_s=each.per_s)
        challenge = OtpChallenge(
            id=ChallengeId(self._ids.uuid()),
            tenant_id=tenant_id,
            bound_to=bound_to,
            destination=destination,
            created_at=now,
            expires_at=now + timedelta(seconds=CODE_LIFETIME_S),
        )
        code = self._ids.code("0123456789", CODE_LENGTH)
        await self._challenges.open(challenge, self._digest(challenge.id, code))
        if sender is not None:
            try:
                await sender.send(destination, code, locale)
            except Unavailable:
                # Else a repeat would be told that a code is on its way.
                await self._challenges.discard(tenant_id, challenge.id)
                raise
        return _challenged(challenge, now)

    async def prove(
        self, tenant_id: TenantId, bound_to: UUID, challenge_id: ChallengeId, code: str
    ) -> OtpAttempt:
        """A try that was right, now or (`repeated`) a moment ago.

        Raises NotFound (`challenge_not_found`), Gone (`challenge_expired`), Invalid
        (`code_incorrect` with `attempts_left`) and Conflict (`challenge_locked`).
        """
        attempt = await self._challenges.attempt(
            tenant_id, bound_to, challenge_id, self._digest(challenge_id, code), self._clock.now()
        )
        match attempt.outcome:
            case "right" | "repeated":
                return attempt
            case "wrong":
                raise Invalid("code_incorrect", extra={"attempts_left": attempt.attempts_left})
            case "locked":
                raise Conflict("challenge_locked", "too many wrong codes; ask for another")
            case "expired" | "consumed":
                raise Gone("challenge_expired", "ask for another code")
            case "unknown":
                raise NotFound("challenge_not_found")

    def _digest(self, challenge_id: ChallengeId, code: str) -> str:
        return self._digests.digest("otp", f"{challenge_id}:{code}")


def _challenged(challenge: OtpChallenge, now: datetime) -> Challenged:
    waited = int((now - challenge.created_at).total_seconds())
    return Challenged(
        challenge_id=challenge.id,
        expires_in_s=max(0, CODE_LIFETIME_S - waited),
        resend_after_s=max(0, RESEND_AFTER_S - waited),
        code_length=CODE_LENGTH,
    )
