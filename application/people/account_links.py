"""Linking: a person who is signed in adds another way in, or takes one away (000 §1.3).

Only just after signing in: a phone that was left lying open, or a token that was stolen, is no
reason to let another account in for good.
"""

from typing import Final
from uuid import UUID

from application.execute import execute
from application.identifiers import Claims, Identifiers
from application.people.accounts import Accounts
from application.people.one_time_codes import Challenged, OneTimeCodes, binding
from application.people.sign_in_guard import SignInGuard, entry_of
from application.people.sign_ins import FIELDS, METHODS, Channel, SignIns
from application.people.user_sessions import UserSessions
from application.people.users import Users
from application.ports import Clock, EventLog, IdSource
from application.principals import UserPrincipal
from domain import tenant as t
from domain import user as u
from domain import user_session as us
from domain.errors import Conflict, Gone, Invalid, NotFound, Unauthenticated
from domain.events import StreamAppend
from domain.ids import ChallengeId

ENDED_BY: Final[us.EndReason] = "account_unlinked"


class AccountLinks:
    def __init__(
        self,
        log: EventLog,
        guard: SignInGuard,
        accounts: Accounts,
        identifiers: Identifiers,
        codes: OneTimeCodes,
        sign_ins: SignIns,
        sessions: UserSessions,
        users: Users,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._guard = guard
        self._accounts = accounts
        self._identifiers = identifiers
        self._codes = codes
        self._sign_ins = sign_ins
        self._sessions = sessions
        self._users = users
        self._clock = clock
        self._ids = ids

    async def ways_in(self, person: UserPrincipal) -> frozenset[u.WayIn]:
        return u.ways_in(await self._user(person))

    def nonce(self, person: UserPrincipal) -> str:
        """What the app has the provider put into the ID token. Raises Unauthenticated
        (`insufficient_user_authentication`)."""
        us.check_fresh(person.authenticated_at, self._clock.now())
        return self._accounts.nonce(person.tenant_id, "link", str(person.session_id))

    async def link(
        self, person: UserPrincipal, address: str, provider: u.Provider, token: str, nonce: str
    ) -> None:
        """Come in by this account too; linking it again says nothing.

        `address` is where the request came from. Raises Unauthenticated (`id_token_invalid`,
        `insufficient_user_authentication`), Unavailable (`provider_unavailable`), Conflict
        (`account_linked_already`, `google_taken`, `apple_taken`) and what the guard raises.
        """
        us.check_fresh(person.authenticated_at, self._clock.now())
        tenant = await self._guard.admit(entry_of(person, address), provider, None)
        try:
            proved = await self._accounts.prove(
                tenant, provider, token, nonce, "link", str(person.session_id)
            )
        except Unauthenticated:
            await self._guard.failed(person.tenant_id, address)
            raise
        claims = self._accounts.claims(person.tenant_id, proved)

        async def beside() -> list[StreamAppend]:
            return [*await self._identifiers.settle(person.tenant_id, person.user_id, {}, claims)]

        await execute(
            self._log,
            person.origin(self._ids.uuid()),
            person.tenant_id,
            person.user_id,
            u.rebuild,
            lambda user: u.link(_known(user), provider, claims[provider]),
            beside,
        )

    async def unlink(self, person: UserPrincipal, provider: u.Provider) -> None:
        """Come in by this account no more; other sessions that did so end.

        Raises NotFound (`way_in_not_found`), Conflict (`last_way_in`), Unauthenticated
        (`insufficient_user_authentication`).
        """
        us.check_fresh(person.authenticated_at, self._clock.now())
        tenant = t.rebuild(await self._log.load(person.tenant_id, person.tenant_id))
        assert tenant is not None, "a session is of a tenant"
        allowed = frozenset(tenant.settings.auth_methods)

        async def beside() -> list[StreamAppend]:
            claims: Claims = {provider: (await self._user(person)).claims[provider]}
            return [*await self._identifiers.settle(person.tenant_id, person.user_id, claims, {})]

        await execute(
            self._log,
            person.origin(self._ids.uuid()),
            person.tenant_id,
            person.user_id,
            u.rebuild,
            lambda user: u.unlink(_known(user), provider, allowed),
            beside,
        )
        for line in await self._sessions.of_user(person.tenant_id, person.user_id):
            if line.method == provider and line.session_id != person.session_id:
                await self._sessions.end(person, person.user_id, line.session_id, ENDED_BY)

    async def request_code(
        self, person: UserPrincipal, address: str, channel: Channel, destination: str, locale: str
    ) -> Challenged:
        """Send a code to a mobile or an e-mail that the person wants to come in by.

        The answer is the same whosever it is. Raises what `SignIns.request_code` raises, and
        Unauthenticated (`insufficient_user_authentication`).
        """
        us.check_fresh(person.authenticated_at, self._clock.now())
        return await self._sign_ins.send_code(
            entry_of(person, address), channel, destination, locale, self._bound(person, channel)
        )

    async def verify_code(
        self,
        person: UserPrincipal,
        address: str,
        channel: Channel,
        challenge_id: ChallengeId,
        code: str,
    ) -> None:
        """Come in by this mobile or e-mail from now on, in the place of the one before.

        Raises what `OneTimeCodes.prove` and the guard raise, Conflict (`mobile_taken`,
        `email_taken`), Unauthenticated (`insufficient_user_authentication`).
        """
        us.check_fresh(person.authenticated_at, self._clock.now())
        await self._guard.admit(entry_of(person, address), METHODS[channel], str(challenge_id))
        try:
            attempt = await self._codes.prove(
                person.tenant_id, self._bound(person, channel), challenge_id, code
            )
        except (Invalid, Conflict, Gone, NotFound):
            await self._guard.failed(person.tenant_id, address)
            raise
        assert attempt.destination is not None, "a right code has a destination"
        field = FIELDS[channel]
        owner = await self._identifiers.owner(person.tenant_id, field, attempt.destination)
        if owner != person.user_id or attempt.outcome != "repeated":
            await self._users.change(person, person.user_id, None, {field: attempt.destination})

    async def _user(self, person: UserPrincipal) -> u.User:
        return _known(u.rebuild(await self._log.load(person.tenant_id, person.user_id)))

    @staticmethod
    def _bound(person: UserPrincipal, channel: Channel) -> UUID:
        return binding(person.tenant_id, f"link:{channel}", str(person.session_id))


def _known(user: u.User | None) -> u.User:
    assert user is not None, "a session is a user's"
    return user
