"""Signing in with an account at Google or Apple; somebody new becomes a user by it.

Who an account belongs to is decided by the account alone. That its e-mail address is the one that
somebody is known by here links nothing: that person signs in, and links the account.
"""

from application.execute import retrying
from application.identifiers import Identifiers
from application.people.accounts import Accounts
from application.people.sign_in_guard import Entry, SignInGuard
from application.people.sign_ins import SignedIn
from application.people.user_sessions import UserSessions
from application.ports import EventLog, IdSource, StaleStream
from application.ports.id_tokens import IdToken
from domain import user as u
from domain.errors import Conflict, Invalid, Unauthenticated
from domain.events import StreamAppend
from domain.ids import TenantId, UserId


class AccountSignIns:
    def __init__(
        self,
        log: EventLog,
        guard: SignInGuard,
        accounts: Accounts,
        identifiers: Identifiers,
        sessions: UserSessions,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._guard = guard
        self._accounts = accounts
        self._identifiers = identifiers
        self._sessions = sessions
        self._ids = ids

    async def nonce(self, entry: Entry) -> str:
        """What the app has the provider put into the ID token. Raises what the guard raises."""
        await self._guard.admit(entry, None, None)
        return self._accounts.nonce(entry.tenant_id, "sign_in", entry.installation)

    async def sign_in(self, entry: Entry, provider: u.Provider, token: str, nonce: str) -> SignedIn:
        """A session for who holds the account. Somebody new is signed up by it.

        Raises Unauthenticated (`id_token_invalid`), Conflict (`account_link_required`),
        Unavailable (`provider_unavailable`), what the guard raises and, for who holds the account,
        Forbidden (`user_suspended`, `user_erased`).
        """
        tenant = await self._guard.admit(entry, provider, None)
        try:
            proved = await self._accounts.prove(
                tenant, provider, token, nonce, "sign_in", entry.installation
            )
        except Unauthenticated:
            await self._guard.failed(entry.tenant_id, entry.address)
            raise
        user, is_new = await retrying(lambda: self._found_or_made(entry, proved))
        tokens = await self._sessions.open(entry, user, provider)
        return SignedIn(tokens=tokens, is_new_user=is_new)

    async def _found_or_made(self, entry: Entry, proved: IdToken) -> tuple[u.User, bool]:
        """Raises StaleStream when the account became somebody's meanwhile."""
        tenant_id = entry.tenant_id
        owner = await self._accounts.owner(tenant_id, proved)
        if owner is not None:
            return await self._user(tenant_id, owner), False
        await self._check_unknown(tenant_id, proved.email)
        fresh, claims = UserId(self._ids.uuid()), self._accounts.claims(tenant_id, proved)
        try:
            settled = await self._identifiers.settle(tenant_id, fresh, {}, claims)
        except Conflict as taken:
            # Since we looked; whoever decides again finds whose it is.
            raise StaleStream(tuple(claims.values())) from taken
        signed_up = u.UserSignedUp(method=proved.provider, claims=claims)
        created = StreamAppend(
            tenant_id=tenant_id, stream_id=fresh, expected_version=0, events=[signed_up]
        )
        await self._log.append(entry.caller().origin(self._ids.uuid()), [created, *settled])
        return await self._user(tenant_id, fresh), True

    async def _check_unknown(self, tenant_id: TenantId, email: str | None) -> None:
        """Only who holds the address, by the provider's word, is told that it is known."""
        if email is None:
            return
        try:
            address = self._identifiers.normalised({"email": email})["email"]
        except Invalid:
            # Nobody is known by an address that we could not write to.
            return
        if await self._identifiers.owner(tenant_id, "email", address) is not None:
            raise Conflict(
                "account_link_required", "sign in as who has this e-mail, and link the account"
            )

    async def _user(self, tenant_id: TenantId, user_id: UserId) -> u.User:
        user = u.rebuild(await self._log.load(tenant_id, user_id))
        assert user is not None, "an account is claimed in the commit that creates its user"
        return user
