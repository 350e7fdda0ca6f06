"""Proving again who one is, inside a session that is open (RFC 9470).

What matters most is done only just after a proof: by a one-time code to one's own mobile or e-mail,
one's password, or one's own account elsewhere. The session stays the one that it is; from then on
it was authenticated at that moment.
"""

from typing import Final
from uuid import UUID

from application.people.accounts import Accounts
from application.people.one_time_codes import Challenged, OneTimeCodes, binding
from application.people.password_sign_ins import PasswordSignIns
from application.people.sign_in_guard import SignInGuard, entry_of
from application.people.sign_ins import FIELDS, METHODS, Channel, SignIns
from application.people.user_sessions import Reauthenticated, UserSessions
from application.ports import EventLog, PersonalData
from application.ports.id_tokens import NoncePurpose
from application.principals import UserPrincipal
from domain import user as u
from domain.errors import Conflict, Gone, Invalid, NotFound, Unauthenticated
from domain.ids import ChallengeId

PURPOSE: Final[NoncePurpose] = "reauthenticate"


class Reauthentications:
    def __init__(
        self,
        log: EventLog,
        guard: SignInGuard,
        accounts: Accounts,
        codes: OneTimeCodes,
        sign_ins: SignIns,
        passwords: PasswordSignIns,
        sessions: UserSessions,
        vault: PersonalData,
    ) -> None:
        self._log = log
        self._guard = guard
        self._accounts = accounts
        self._codes = codes
        self._sign_ins = sign_ins
        self._passwords = passwords
        self._sessions = sessions
        self._vault = vault

    async def request_code(
        self, person: UserPrincipal, address: str, channel: Channel, locale: str
    ) -> Challenged:
        """Send a code to the person's own mobile or e-mail; `address` is where the request came
        from. Raises NotFound (`way_in_not_found`) and what `SignIns.request_code` raises."""
        return await self._sign_ins.send_code(
            entry_of(person, address),
            channel,
            await self._own(person, channel),
            locale,
            self._bound(person, channel),
        )

    async def by_code(
        self,
        person: UserPrincipal,
        address: str,
        channel: Channel,
        challenge_id: ChallengeId,
        code: str,
    ) -> Reauthenticated:
        """Raises what `OneTimeCodes.prove` and the guard raise, and NotFound (`way_in_not_found`)
        for an address that is the person's no more."""
        await self._guard.admit(entry_of(person, address), METHODS[channel], str(challenge_id))
        own = await self._own(person, channel)
        try:
            attempt = await self._codes.prove(
                person.tenant_id, self._bound(person, channel), challenge_id, code
            )
        except (Invalid, Conflict, Gone, NotFound):
            await self._guard.failed(person.tenant_id, address)
            raise
        if attempt.outcome == "repeated":
            raise Gone("challenge_expired", "it has counted; ask for another code")
        if attempt.destination != own:
            raise NotFound("way_in_not_found", "it went to an address that was yours before")
        return await self._sessions.reauthenticate(person, METHODS[channel])

    async def by_password(
        self, person: UserPrincipal, address: str, password: str
    ) -> Reauthenticated:
        """Raises what `PasswordSignIns.prove` raises."""
        await self._passwords.prove(person, address, password)
        return await self._sessions.reauthenticate(person, "password")

    def nonce(self, person: UserPrincipal) -> str:
        """What the app has the provider put into the ID token."""
        return self._accounts.nonce(person.tenant_id, PURPOSE, str(person.session_id))

    async def by_account(
        self, person: UserPrincipal, address: str, provider: u.Provider, token: str, nonce: str
    ) -> Reauthenticated:
        """Raises Unauthenticated (`id_token_invalid`), for somebody else's account too, Unavailable
        (`provider_unavailable`) and what the guard raises."""
        tenant = await self._guard.admit(entry_of(person, address), provider, None)
        try:
            proved = await self._accounts.prove(
                tenant, provider, token, nonce, PURPOSE, str(person.session_id)
            )
        except Unauthenticated:
            await self._guard.failed(person.tenant_id, address)
            raise
        if await self._accounts.owner(person.tenant_id, proved) != person.user_id:
            await self._guard.failed(person.tenant_id, address)
            raise Unauthenticated("id_token_invalid", "the account is none of yours here")
        return await self._sessions.reauthenticate(person, provider)

    async def _own(self, person: UserPrincipal, channel: Channel) -> str:
        """The address that the log and the vault have of the person."""
        field = FIELDS[channel]
        user = u.rebuild(await self._log.load(person.tenant_id, person.user_id))
        if user is None or field not in user.fields:
            raise NotFound("way_in_not_found")
        held = await self._vault.read(person.tenant_id, person.user_id, field)
        if held is None:
            raise NotFound("way_in_not_found")
        return held

    @staticmethod
    def _bound(person: UserPrincipal, channel: Channel) -> UUID:
        return binding(person.tenant_id, f"{PURPOSE}:{channel}", str(person.session_id))
