"""A palm asked for at a device, by a backend or by the platform itself (broker.md §3.6).

A personal scanner is asked for the person that it was registered for, and nobody else. At a
counter only an enrolment is asked for: who the person is, the backend vouches for (003 §3.1).
"""

from datetime import timedelta
from typing import Final
from uuid import UUID, uuid5

import msgspec

from application.execute import Done, execute, stream_of
from application.palms.enrollments import consented
from application.ports import Clock, EventLog, IdSource, ProductTexts, RateLimiter, StaleStream
from application.ports.challenges import Bells
from application.principals import Caller
from domain import device as d
from domain import palm_challenge as pc
from domain import tenant as t
from domain import user as u
from domain.erasure import erasure_id
from domain.errors import Conflict, Forbidden, Invalid, NotFound, TooMany
from domain.events import Sealed, StreamAppend
from domain.ids import DeviceId, PalmChallengeId, TenantId, TransactionId, UserId
from domain.palm import Hand
from domain.transaction import ProductText

PER_HOUR: Final = 30
"""Challenges of one person: who is asked all the time agrees at last (MFA fatigue)."""

_device: Final = stream_of(d.DeviceRegistered, d.rebuild)
_user: Final = stream_of(u.UserSignedUp, u.rebuild)
challenge_of: Final = stream_of(pc.PalmChallengeOpened, pc.rebuild)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of whom, where; `message` is shown to the person."""

    user_id: UserId
    device_id: DeviceId
    purpose: pc.ChallengePurpose
    expires_in_s: int
    hand: Hand | None = None
    replace: bool = False
    message: str | None = None


class Challenges:
    def __init__(
        self,
        log: EventLog,
        bells: Bells,
        texts: ProductTexts,
        limiter: RateLimiter,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._bells = bells
        self._texts = texts
        self._limiter = limiter
        self._clock = clock
        self._ids = ids

    async def open(
        self, caller: Caller, wanted: Wanted, key: str | None
    ) -> tuple[pc.PalmChallenge, int | None]:
        """Ask, once for each key; the challenge, and its position when it is new.

        Raises NotFound (`user_not_found`, `device_not_found`), Conflict (`device_not_active`,
        `device_not_of_user`, `palm_already_enrolled`), Forbidden (`user_suspended`, `user_erased`,
        `consent_required`, `kyc_required`), Invalid (`message_invalid`, `idempotency_key_reused`)
        and TooMany (`rate_limited`).
        """
        command_id = caller.command("palm_challenge.open", key, self._ids.uuid())
        challenge_id = PalmChallengeId(uuid5(command_id, "palm_challenge"))
        opened = pc.PalmChallengeOpened(
            user_id=wanted.user_id,
            device_id=wanted.device_id,
            purpose=wanted.purpose,
            expires_at=self._clock.now() + timedelta(seconds=wanted.expires_in_s),
            hand=wanted.hand,
            replace=wanted.replace,
            text_commitment=None if wanted.message is None else "",
        )
        known = challenge_of(await self._log.load(caller.tenant_id, challenge_id))
        if known is None:
            await self._check(caller.tenant_id, wanted)
            sealed = await self._sealed(caller.tenant_id, wanted, challenge_id)
            if sealed is not None:
                opened = msgspec.structs.replace(opened, text_commitment=sealed.commitment)
            append = StreamAppend(
                tenant_id=caller.tenant_id,
                stream_id=challenge_id,
                expected_version=0,
                events=[opened],
                sealed=sealed,
                unless_begun=erasure_id(wanted.user_id),
            )
            try:
                appended = await self._log.append(caller.origin(command_id), [append])
            except StaleStream as stale:
                if erasure_id(wanted.user_id) in stale.streams:
                    raise Forbidden("user_erased") from stale
            else:
                return await self.get(caller.tenant_id, challenge_id), appended.last_position
            known = await self.get(caller.tenant_id, challenge_id)
        pc.open_challenge(known, opened)
        return known, None

    async def get(self, tenant_id: TenantId, challenge_id: UUID) -> pc.PalmChallenge:
        """Raises NotFound (`challenge_not_found`)."""
        challenge = challenge_of(await self._log.load(tenant_id, challenge_id))
        if challenge is None:
            raise NotFound("challenge_not_found")
        return challenge

    async def ended(
        self, tenant_id: TenantId, challenge_id: UUID, wait_s: float
    ) -> pc.PalmChallenge:
        """The challenge when it has ended, or as it is after `wait_s`. Raises as `get`."""
        ends_at = self._clock.monotonic() + wait_s
        with self._bells.listen(challenge_id) as bell:
            while True:
                challenge = await self.get(tenant_id, challenge_id)
                left_s = ends_at - self._clock.monotonic()
                if not challenge.is_open or left_s <= 0 or bell.closed:
                    return challenge
                await bell.rung(left_s)

    async def cancel(self, caller: Caller, challenge_id: UUID) -> Done:
        """Raises NotFound (`challenge_not_found`), Conflict (`challenge_closed`,
        `request_in_progress` while an answer is looked at)."""

        def decide(challenge: pc.PalmChallenge | None) -> list[pc.PalmChallengeEvent]:
            if challenge is None:
                raise NotFound("challenge_not_found")
            return pc.cancel(challenge, self._clock.now())

        return await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            caller.tenant_id,
            challenge_id,
            challenge_of,
            decide,
        )

    async def _check(self, tenant_id: TenantId, wanted: Wanted) -> None:
        if wanted.purpose == "confirmation" and wanted.message is None:
            raise Invalid("message_invalid", "a confirmation says what is confirmed")
        user = _user(await self._log.load(tenant_id, wanted.user_id))
        if user is None:
            raise NotFound("user_not_found")
        device = _device(await self._log.load(tenant_id, wanted.device_id))
        if device is None:
            raise NotFound("device_not_found")
        if device.status != "active":
            raise Conflict("device_not_active", "only a paired device can be asked")
        if device.registered.type == "personal_scanner":
            if device.registered.bound_user != user.id:
                raise Conflict("device_not_of_user", "the scanner is another person's")
        elif wanted.purpose != "enrollment":
            raise Conflict("device_not_of_user", "a counter is asked for enrolments only")
        u.serve(user)
        if wanted.purpose == "enrollment":
            tenant = t.rebuild(await self._log.load(tenant_id, tenant_id))
            assert tenant is not None, "a user belongs to a tenant"
            consented(tenant, user)
            if not wanted.replace and wanted.hand in user.palms.values():
                raise Conflict("palm_already_enrolled")
        if not await self._limiter.hit(
            "palm_challenge.user", wanted.user_id.hex, limit=PER_HOUR, per_s=3600
        ):
            raise TooMany("rate_limited", retry_after_s=60)

    async def _sealed(
        self, tenant_id: TenantId, wanted: Wanted, challenge_id: PalmChallengeId
    ) -> Sealed | None:
        if wanted.message is None:
            return None
        text = ProductText(display_message=wanted.message)
        # Sealed as a product's words are, beside the stream that has the commitment.
        return await self._texts.seal(tenant_id, wanted.user_id, TransactionId(challenge_id), text)
