"""Who stands behind a mobile or an e-mail that was proved: somebody known, or somebody new.

A new person's value goes into the vault, and then the person and the claim on the address are one
commit (design §2 row 7).
"""

from typing import Final
from uuid import UUID, uuid5

from application.execute import retrying
from application.identifiers import Identifiers
from application.ports import EventLog, OtpAttempt, OtpChallenges, PersonalData, StaleStream
from application.principals import Caller
from domain import user as u
from domain.errors import Conflict
from domain.events import StreamAppend
from domain.ids import ChallengeId, DeviceId, TenantId, UserId

METHODS: Final[dict[u.PersonalField, u.SignUpMethod]] = {
    "mobile": "otp_sms",
    "email": "otp_email",
}


class Newcomers:
    def __init__(
        self,
        log: EventLog,
        challenges: OtpChallenges,
        personal_data: PersonalData,
        identifiers: Identifiers,
    ) -> None:
        self._log = log
        self._challenges = challenges
        self._personal_data = personal_data
        self._identifiers = identifiers

    async def behind(
        self,
        caller: Caller,
        challenge_id: ChallengeId,
        attempt: OtpAttempt,
        field: u.PersonalField,
        device_id: DeviceId | None = None,
    ) -> tuple[u.User, bool]:
        """The person whose address a right code proved, and whether it is a new one.

        Raises Conflict (`request_in_progress`) while an earlier request with this code is still
        at it, or died before it got that far.
        """
        address = attempt.destination
        assert address is not None, "a right code has a destination"
        if attempt.outcome == "repeated":
            return await self._concluded(caller.tenant_id, challenge_id, attempt, field, address)
        user, is_new = await retrying(
            lambda: self.find_or_create(
                caller,
                UserId(uuid5(challenge_id, "user")),
                _command(challenge_id),
                field,
                address,
                METHODS[field],
                device_id,
            )
        )
        await self._challenges.conclude(caller.tenant_id, challenge_id, user.id)
        return user, is_new

    async def find_or_create(
        self,
        caller: Caller,
        fresh: UserId,
        command_id: UUID,
        field: u.PersonalField,
        value: str,
        method: u.SignUpMethod,
        device_id: DeviceId | None = None,
    ) -> tuple[u.User, bool]:
        """Raises StaleStream when somebody else claimed the address meanwhile."""
        tenant_id = caller.tenant_id
        owner = await self._identifiers.owner(tenant_id, field, value)
        if owner is not None:
            return await self._known(tenant_id, owner), False
        claims = self._identifiers.claims(tenant_id, {field: value})
        try:
            settled = await self._identifiers.settle(tenant_id, fresh, {}, claims)
        except Conflict as taken:
            # Since we looked; whoever decides again finds whose it is.
            raise StaleStream(tuple(claims.values())) from taken
        # First the vault: a value without a user is swept away, a user without a value is lost.
        await self._personal_data.store(tenant_id, fresh, field, value)
        signed_up = u.UserSignedUp(
            method=method, device_id=device_id, fields=(field,), claims=claims
        )
        created = StreamAppend(
            tenant_id=tenant_id, stream_id=fresh, expected_version=0, events=[signed_up]
        )
        try:
            await self._log.append(caller.origin(command_id), [created, *settled])
        except StaleStream:
            await self._personal_data.destroy(tenant_id, fresh)
            raise
        return await self._known(tenant_id, fresh), True

    async def _concluded(
        self,
        tenant_id: TenantId,
        challenge_id: ChallengeId,
        attempt: OtpAttempt,
        field: u.PersonalField,
        address: str,
    ) -> tuple[u.User, bool]:
        """The user that a right code led to before, also when nobody noted whom."""
        user_id = attempt.user_id or await self._identifiers.owner(tenant_id, field, address)
        if user_id is None:
            raise Conflict("request_in_progress", retry_after_s=1)
        past = await self._log.load(tenant_id, user_id)
        user = u.rebuild(past)
        assert user is not None, "an address is claimed in the commit that creates its user"
        return user, past[0].command_id == _command(challenge_id)

    async def _known(self, tenant_id: TenantId, user_id: UserId) -> u.User:
        user = u.rebuild(await self._log.load(tenant_id, user_id))
        assert user is not None, "an address is claimed in the commit that creates its user"
        return user


def _command(challenge_id: ChallengeId) -> UUID:
    return uuid5(challenge_id, "user.sign_up")
