"""What is kept about people outside the log, and how they are reached."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

import msgspec

from domain.events import Sealed, SealedValue
from domain.ids import ChallengeId, DeviceId, TenantId, TransactionId, UserId
from domain.transaction import ProductText


class PersonalData(Protocol):
    """Values of a person, encrypted under the person's own key, outside the log (design §6).

    Fields are those of `domain/personal_fields.py`; `store` raises ValueError for another.
    """

    async def store(self, tenant_id: TenantId, user_id: UserId, field: str, value: str) -> None: ...

    async def seal(
        self, tenant_id: TenantId, user_id: UserId, field: str, value: str
    ) -> SealedValue:
        """The value, to be kept with the event that says so (`StreamAppend.values`). Raises what
        `store` raises."""
        ...

    async def read(self, tenant_id: TenantId, user_id: UserId, field: str) -> str | None: ...

    async def everything(self, tenant_id: TenantId, user_id: UserId) -> Mapping[str, str]:
        """Every value of the person by its field, but for secrets; empty after the erasure."""
        ...

    async def replace(
        self, tenant_id: TenantId, user_id: UserId, field: str, before: str, after: str
    ) -> None:
        """Keep `after` where the value still is `before`; else change nothing."""
        ...

    async def remove(self, tenant_id: TenantId, user_id: UserId, field: str) -> None:
        """Keep no value in this field any more, if there was one."""
        ...

    async def destroy(self, tenant_id: TenantId, user_id: UserId) -> bool:
        """Forget the person's key and every value under it; whether there was any."""
        ...

    async def erase(self, tenant_id: TenantId, user_id: UserId) -> None:
        """The same, for good: from now on `store` raises Conflict (`personal_key_destroyed`)."""
        ...


class ProductTexts(Protocol):
    """What products write to a person, under the person's key, beside the transaction."""

    async def seal(
        self, tenant_id: TenantId, user_id: UserId, transaction_id: TransactionId, text: ProductText
    ) -> Sealed:
        """To be appended with the decision; of somebody who has been erased nothing is kept."""
        ...

    async def open(
        self, tenant_id: TenantId, user_id: UserId, transaction_id: TransactionId, commitment: str
    ) -> ProductText | None:
        """The text that the commitment stands for; None once the person has been erased."""
        ...

    async def of_person(
        self, tenant_id: TenantId, user_id: UserId
    ) -> Sequence[tuple[TransactionId, ProductText]]: ...


class OtpSender(Protocol):
    async def send(self, destination: str, code: str, locale: str) -> None:
        """Hand the code to a channel. Raises Unavailable (`otp_not_sent`)."""
        ...


class OtpChallenge(msgspec.Struct, frozen=True, kw_only=True):
    """An outstanding one-time code. The code itself is never kept, only its keyed digest.

    `bound_to` is who asked and what for: a device, or what `one_time_codes.binding` makes of it.
    """

    id: ChallengeId
    tenant_id: TenantId
    bound_to: UUID
    destination: str
    created_at: datetime
    expires_at: datetime


class OtpChallenges(Protocol):
    """Outstanding codes. Every method is atomic across processes."""

    async def open(self, challenge: OtpChallenge, code_digest: str) -> None: ...

    async def discard(self, tenant_id: TenantId, challenge_id: ChallengeId) -> None:
        """Forget a challenge whose code was never sent."""
        ...

    async def latest(
        self, tenant_id: TenantId, bound_to: UUID, destination: str, since: datetime
    ) -> OtpChallenge | None:
        """The newest unconsumed challenge bound so, for this destination since then."""
        ...

    async def attempt(
        self,
        tenant_id: TenantId,
        bound_to: UUID,
        challenge_id: ChallengeId,
        code_digest: str,
        now: datetime,
    ) -> "OtpAttempt":
        """Count one try and consume the challenge if the digest is right; one winner at most."""
        ...

    async def conclude(
        self, tenant_id: TenantId, challenge_id: ChallengeId, user_id: UserId
    ) -> None:
        """Remember whom a consumed challenge led to, so that a repeat gets the same answer."""
        ...

    async def forget(
        self, tenant_id: TenantId, user_id: UserId, destinations: Sequence[str]
    ) -> None:
        """Delete every challenge that led to the person or was sent to one of these."""
        ...


class OtpAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """What a try came to. `repeated` without a user: nobody has concluded the challenge yet."""

    outcome: Literal["right", "repeated", "wrong", "locked", "expired", "unknown", "consumed"]
    destination: str | None = None
    attempts_left: int = 0
    user_id: UserId | None = None


class EnrollmentGrants(Protocol):
    """Who may put a palm under which user, at which device, until when (design §2 row 6)."""

    async def open(
        self, tenant_id: TenantId, device_id: DeviceId, user_id: UserId, expires_at: datetime
    ) -> None: ...

    async def is_open(
        self, tenant_id: TenantId, device_id: DeviceId, user_id: UserId, now: datetime
    ) -> bool: ...

    async def close(self, tenant_id: TenantId, user_id: UserId) -> None:
        """Take back every grant for this user."""
        ...


class PhoneNumbers(Protocol):
    def normalise(self, text: str) -> str:
        """E.164. Raises Invalid (`mobile_invalid`)."""
        ...

    def country(self, mobile: str) -> str | None:
        """ISO 3166-1 alpha-2 of an E.164 number, None when it belongs to no country."""
        ...
