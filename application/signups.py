"""Sign-up at a device: prove a mobile, become a user (004 diagram 4.4).

Nothing is created before the one-time code comes back right, and the answer to a sign-up is
the same whether or not the mobile is known (design §2 row 7). A right code opens a grant for
exactly this device and this user; consent and enrolment demand it (row 6).
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid5

import msgspec

from application.admission import admitted
from application.execute import retrying
from application.identifiers import identifier_claim
from application.ports import (
    Clock,
    Digests,
    EnrollmentGrants,
    EventLog,
    IdSource,
    OtpAttempt,
    OtpChallenge,
    OtpChallenges,
    OtpSender,
    PersonalData,
    PhoneNumbers,
    RateLimiter,
    StaleStream,
    Streams,
)
from application.principals import DevicePrincipal
from domain import claim as k
from domain import user as u
from domain.errors import (
    Conflict,
    Gone,
    Invalid,
    NotFound,
    TooMany,
    Unavailable,
)
from domain.events import StreamAppend
from domain.ids import ChallengeId, ClaimId, TenantId, UserId
from domain.palm import Hand

CODE_LENGTH: Final = 6
CODE_LIFETIME_S: Final = 300
RESEND_AFTER_S: Final = 30
GRANT_S: Final = 600
PER_MOBILE: Final = (3, 900)
PER_DEVICE: Final = (30, 3600)


class Challenged(msgspec.Struct, frozen=True, kw_only=True):
    challenge_id: ChallengeId
    expires_in_s: int
    resend_after_s: int
    code_length: int


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What a device needs to know next about the person in front of it."""

    user_id: UserId
    is_new_user: bool
    palms: tuple[Hand, ...]
    consent_status: u.ConsentStatus
    consent_version_required: str
    kyc_status: u.KycStatus
    enrollment_expires_in_s: int


class SignUps:
    def __init__(
        self,
        log: EventLog,
        streams: Streams,
        challenges: OtpChallenges,
        grants: EnrollmentGrants,
        sender: OtpSender,
        personal_data: PersonalData,
        phone_numbers: PhoneNumbers,
        limiter: RateLimiter,
        digests: Digests,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._streams = streams
        self._challenges = challenges
        self._grants = grants
        self._sender = sender
        self._personal_data = personal_data
        self._phone_numbers = phone_numbers
        self._limiter = limiter
        self._digests = digests
        self._clock = clock
        self._ids = ids

    async def sign_up(self, device: DevicePrincipal, mobile: str, locale: str) -> Challenged:
        """Send a code. A repeat within half a minute sends nothing and answers the same.

        Raises Invalid (`mobile_invalid`, `mobile_country_not_allowed`), TooMany and Unavailable
        (`otp_not_sent`), after which a repeat sends again.
        """
        tenant = await admitted(self._streams, device, "sign_up")
        number = self._phone_numbers.normalise(mobile)
        allowed = tenant.settings.allowed_countries
        if allowed and self._phone_numbers.country(number) not in allowed:
            raise Invalid("mobile_country_not_allowed")
        now = self._clock.now()
        latest = await self._challenges.latest(
            device.tenant_id, device.device_id, number, now - timedelta(seconds=RESEND_AFTER_S)
        )
        if latest is not None:
            return self._challenged(latest, now)
        await self._within_budget(device, number)
        challenge = OtpChallenge(
            id=ChallengeId(self._ids.uuid()),
            tenant_id=device.tenant_id,
            device_id=device.device_id,
            destination=number,
            created_at=now,
            expires_at=now + timedelta(seconds=CODE_LIFETIME_S),
        )
        code = self._ids.code("0123456789", CODE_LENGTH)
        await self._challenges.open(challenge, self._digest(challenge.id, code))
        try:
            await self._sender.send(number, code, locale)
        except Unavailable:
            # Else a repeat would be told that a code is on its way.
            await self._challenges.discard(device.tenant_id, challenge.id)
            raise
        return self._challenged(challenge, now)

    async def verify(
        self, device: DevicePrincipal, challenge_id: ChallengeId, code: str
    ) -> Verified:
        """Prove the code. Creates the user if the mobile is new to the tenant.

        Raises NotFound (`challenge_not_found`, another device's too), Gone (`challenge_expired`),
        Invalid (`code_incorrect` with `attempts_left`), Conflict (`challenge_locked`) and, for who
        proved the code, Forbidden (`user_suspended`,
        `user_erased`).
        """
        tenant = await admitted(self._streams, device, "sign_up")
        attempt = await self._challenges.attempt(
            device.tenant_id,
            device.device_id,
            challenge_id,
            self._digest(challenge_id, code),
            self._clock.now(),
        )
        match attempt.outcome:
            case "right":
                assert attempt.destination is not None, "a right code has a destination"
                user, is_new = await retrying(
                    lambda: self._find_or_create(device, challenge_id, attempt.destination or "")
                )
                await self._challenges.conclude(device.tenant_id, challenge_id, user.id)
            case "repeated":
                user, is_new = await self._concluded(device, challenge_id, attempt)
            case "wrong":
                raise Invalid("code_incorrect", extra={"attempts_left": attempt.attempts_left})
            case "locked":
                raise Conflict("challenge_locked", "too many wrong codes; sign up again")
            case "expired" | "consumed":
                raise Gone("challenge_expired", "sign up again")
            case "unknown":
                raise NotFound("challenge_not_found")
        u.serve(user)
        await self._grants.open(
            device.tenant_id,
            device.device_id,
            user.id,
            self._clock.now() + timedelta(seconds=GRANT_S),
        )
        current = tenant.settings.consent_version
        return Verified(
            user_id=user.id,
            is_new_user=is_new,
            palms=tuple(sorted(set(user.palms.values()))),
            consent_status=user.consent_status(u.PALM_ENROLLMENT, current),
            consent_version_required=current,
            kyc_status=user.kyc_status,
            enrollment_expires_in_s=GRANT_S,
        )

    async def _concluded(
        self, device: DevicePrincipal, challenge_id: ChallengeId, attempt: OtpAttempt
    ) -> tuple[u.User, bool]:
        """The user that a right code led to before, also when nobody noted whom.

        Raises Conflict (`request_in_progress`) while the first request is still at it, or died
        before it got that far.
        """
        user_id: UUID | None = attempt.user_id
        if user_id is None:
            claim = await self._claim(device.tenant_id, attempt.destination or "")
            user_id = None if claim is None else claim.owner
        if user_id is None:
            raise Conflict("request_in_progress", retry_after_s=1)
        past = await self._log.load(device.tenant_id, user_id)
        user = u.rebuild(past)
        assert user is not None, "a mobile is claimed in the commit that creates its user"
        return user, past[0].command_id == self._command(challenge_id)

    async def _within_budget(self, device: DevicePrincipal, number: str) -> None:
        mobile = self._digests.digest("mobile", f"{device.tenant_id}:{number}")
        for budget, key, (limit, per_s) in (
            ("signup.device", str(device.device_id), PER_DEVICE),
            ("signup.mobile", mobile, PER_MOBILE),
        ):
            if not await self._limiter.hit(budget, key, limit=limit, per_s=per_s):
                raise TooMany("rate_limited", retry_after_s=per_s)

    async def _find_or_create(
        self, device: DevicePrincipal, challenge_id: ChallengeId, number: str
    ) -> tuple[u.User, bool]:
        tenant_id = device.tenant_id
        stream = self._mobile(tenant_id, number)
        claim = await self._claim(tenant_id, number)
        if claim is not None and claim.owner is not None:
            user = u.rebuild(await self._log.load(tenant_id, claim.owner))
            assert user is not None, "a mobile is claimed in the commit that creates its user"
            return user, False
        user_id = UserId(uuid5(challenge_id, "user"))
        # First the vault: a value without a user is swept away, a user without a value is lost.
        await self._personal_data.store(tenant_id, user_id, "mobile", number)
        signed_up = u.UserSignedUp(
            method="otp_sms",
            device_id=device.device_id,
            fields=("mobile",),
            claims={k.MOBILE: stream},
        )
        try:
            await self._log.append(
                device.origin(self._command(challenge_id)),
                [
                    StreamAppend(
                        tenant_id=tenant_id,
                        stream_id=user_id,
                        expected_version=0,
                        events=[signed_up],
                    ),
                    StreamAppend(
                        tenant_id=tenant_id,
                        stream_id=stream,
                        expected_version=0 if claim is None else claim.version,
                        events=[k.ClaimTaken(kind=k.MOBILE, owner=user_id)],
                    ),
                ],
            )
        except StaleStream:
            await self._personal_data.destroy(tenant_id, user_id)
            raise
        user = u.rebuild(await self._log.load(tenant_id, user_id))
        assert user is not None, "it was appended just now"
        return user, True

    async def _claim(self, tenant_id: TenantId, number: str) -> k.Claim | None:
        return k.rebuild(await self._log.load(tenant_id, self._mobile(tenant_id, number)))

    def _mobile(self, tenant_id: TenantId, number: str) -> ClaimId:
        return identifier_claim(self._digests, tenant_id, k.MOBILE, number)

    def _command(self, challenge_id: ChallengeId) -> UUID:
        return uuid5(challenge_id, "user.sign_up")

    def _digest(self, challenge_id: ChallengeId, code: str) -> str:
        return self._digests.digest("otp", f"{challenge_id}:{code}")

    @staticmethod
    def _challenged(challenge: OtpChallenge, now: datetime) -> Challenged:
        waited = int((now - challenge.created_at).total_seconds())
        return Challenged(
            challenge_id=challenge.id,
            expires_in_s=max(0, CODE_LIFETIME_S - waited),
            resend_after_s=max(0, RESEND_AFTER_S - waited),
            code_length=CODE_LENGTH,
        )
