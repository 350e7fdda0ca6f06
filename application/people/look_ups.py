"""Finding a person by mobile or e-mail, for a backend that was given one by the person.

The value is never searched for: its keyed digest names one claim's stream, which no other tenant's
equals, so nothing can be told from the answer or its time but whether the tenant has the person.
"""

from typing import Final, Literal

from application.identifiers import Identifiers
from application.people.personal_data_accesses import PersonalDataAccesses
from application.ports import RateLimiter
from application.principals import Caller
from domain.errors import NotFound, TooMany
from domain.ids import UserId
from domain.personal_data import AccessPurpose

OPERATION: Final = "lookUpUser"
PER_MINUTE: Final = 120
"""For one tenant: enough for every person at every desk, and too few to try a range of numbers."""

Address = Literal["mobile", "email"]


class LookUps:
    def __init__(
        self, identifiers: Identifiers, accesses: PersonalDataAccesses, limiter: RateLimiter
    ) -> None:
        self._identifiers = identifiers
        self._accesses = accesses
        self._limiter = limiter

    async def find(
        self,
        caller: Caller,
        field: Address,
        value: str,
        purpose: AccessPurpose,
        reference: str | None,
    ) -> UserId:
        """Whose it is, after it is on record that the caller is told.

        Raises NotFound (`user_not_found`), Invalid (`mobile_invalid`, `email_invalid`), Malformed
        (`access_reference_invalid`), TooMany (`rate_limited`), CommitFailed.
        """
        key = str(caller.tenant_id)
        if not await self._limiter.hit("users.lookup", key, limit=PER_MINUTE, per_s=60):
            raise TooMany("rate_limited", retry_after_s=60)
        kept = self._identifiers.normalised({field: value})
        found = await self._identifiers.owner(caller.tenant_id, field, kept[field])
        if found is None:
            raise NotFound("user_not_found")
        await self._accesses.note(
            caller,
            found,
            fields=[field],
            purpose=purpose,
            operation=OPERATION,
            reference=reference,
        )
        return found
