"""Signing in with a one-time code: a person proves a mobile or an e-mail and gets a session.

Somebody new becomes a user by it. The answer to asking for a code is the same for who is known and
who is not; only the holder of the address learns more.
"""

from collections.abc import Mapping
from typing import Final, Literal
from uuid import UUID

import msgspec

from application.identifiers import Identifiers
from application.people.newcomers import Newcomers
from application.people.one_time_codes import Budget, Challenged, OneTimeCodes, binding
from application.people.sign_in_guard import Entry, SignInGuard
from application.people.user_sessions import Tokens, UserSessions
from application.ports import Digests, OtpSender, PhoneNumbers
from domain import tenant as t
from domain import user as u
from domain.errors import Conflict, Gone, Invalid, NotFound
from domain.ids import ChallengeId, TenantId

Channel = Literal["sms", "email"]

PER_DESTINATION: Final = (5, 900)
PER_DESTINATION_A_DAY: Final = (10, 86_400)
SMS_PER_NETWORK: Final = (100, 3600)
"""Each costs the tenant money, and whoever owns the numbers may earn it."""
METHODS: Final[Mapping[Channel, Literal["otp_sms", "otp_email"]]] = {
    "sms": "otp_sms",
    "email": "otp_email",
}
FIELDS: Final[Mapping[Channel, u.PersonalField]] = {"sms": "mobile", "email": "email"}


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    tokens: Tokens
    is_new_user: bool


class SignIns:
    """`senders` are who brings a code to a mobile and to an e-mail address."""

    def __init__(
        self,
        guard: SignInGuard,
        codes: OneTimeCodes,
        senders: Mapping[Channel, OtpSender],
        newcomers: Newcomers,
        sessions: UserSessions,
        identifiers: Identifiers,
        phone_numbers: PhoneNumbers,
        digests: Digests,
    ) -> None:
        self._guard = guard
        self._codes = codes
        self._senders = senders
        self._newcomers = newcomers
        self._sessions = sessions
        self._identifiers = identifiers
        self._phone_numbers = phone_numbers
        self._digests = digests

    async def request_code(
        self, entry: Entry, channel: Channel, destination: str, locale: str
    ) -> Challenged:
        """Send a code to who wants to sign in.

        Raises Invalid (`mobile_invalid`, `email_invalid`, `mobile_country_not_allowed`), TooMany,
        Unavailable (`otp_not_sent`), and what the guard raises.
        """
        bound_to = self._bound(entry, channel)
        return await self.send_code(entry, channel, destination, locale, bound_to)

    async def send_code(
        self, entry: Entry, channel: Channel, destination: str, locale: str, bound_to: UUID
    ) -> Challenged:
        """The same for another purpose than signing in: what the code is bound to says which."""
        field = FIELDS[channel]
        address = self._identifiers.normalised({field: destination})[field]
        tenant = await self._guard.admit(entry, METHODS[channel], address)
        budgets = self.budgets(entry.tenant_id, channel, address)
        if channel == "sms":
            self._check_country(tenant, address)
            here = f"{entry.tenant_id}:{entry.address}"
            budgets += [
                Budget("otp.sms_network", here, *SMS_PER_NETWORK),
                Budget("otp.sms_tenant", str(entry.tenant_id), tenant.settings.sms_per_hour, 3600),
            ]
        return await self._codes.send(
            self._senders[channel],
            entry.tenant_id,
            bound_to,
            address,
            locale,
            budgets,
        )

    async def verify_code(
        self, entry: Entry, channel: Channel, challenge_id: ChallengeId, code: str
    ) -> SignedIn:
        """A session for who holds the address. Somebody new is signed up by it.

        Raises what `OneTimeCodes.prove` and the guard raise, Conflict (`request_in_progress`) and,
        for who proved the code, Forbidden (`user_suspended`, `user_erased`).
        """
        await self._guard.admit(entry, METHODS[channel], str(challenge_id))
        try:
            attempt = await self._codes.prove(
                entry.tenant_id, self._bound(entry, channel), challenge_id, code
            )
        except (Invalid, Conflict, Gone, NotFound):
            await self._guard.failed(entry.tenant_id, entry.address)
            raise
        user, is_new = await self._newcomers.behind(
            entry.caller(), challenge_id, attempt, FIELDS[channel]
        )
        tokens = await self._sessions.open(entry, user, METHODS[channel])
        return SignedIn(tokens=tokens, is_new_user=is_new)

    def budgets(self, tenant_id: TenantId, channel: Channel, address: str) -> list[Budget]:
        """How many codes may go to one address, whatever they are for."""
        key = self._digests.digest(FIELDS[channel], f"{tenant_id}:{address}")
        return [
            Budget("otp.destination", key, *PER_DESTINATION),
            Budget("otp.destination_day", key, *PER_DESTINATION_A_DAY),
        ]

    def _bound(self, entry: Entry, channel: Channel) -> UUID:
        return binding(entry.tenant_id, f"sign_in:{channel}", entry.installation)

    def _check_country(self, tenant: t.Tenant, mobile: str) -> None:
        allowed = tenant.settings.allowed_countries
        if allowed and self._phone_numbers.country(mobile) not in allowed:
            raise Invalid("mobile_country_not_allowed")
