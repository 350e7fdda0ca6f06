"""E-mail and password: set, change, reset, give up, and sign in with.

Nobody learns whether an address is known: what is answered, and the work done before it, are the
same. A password is set by who is signed in: the one before it, or a sign-in of a moment ago, says
that it is the person. Whoever resets it proves the address. The hash is in the vault, under the
person's own key, and goes with it.
"""

from typing import Final
from uuid import UUID, uuid5

from application.execute import execute
from application.identifiers import Identifiers
from application.passwords import Passwords
from application.people.kept_passwords import KeptPasswords
from application.people.one_time_codes import Challenged, OneTimeCodes, binding
from application.people.sign_in_guard import Entry, SignInGuard, entry_of
from application.people.sign_ins import SignIns
from application.people.user_sessions import Tokens, UserSessions
from application.ports import Clock, EventLog, IdSource, OtpSender, PersonalData
from application.principals import Caller, UserPrincipal, user_actor
from domain import tenant as t
from domain import user as u
from domain import user_session as us
from domain.errors import Conflict, Gone, Invalid, NotFound, Unauthenticated
from domain.ids import ChallengeId, TenantId, UserId
from domain.password import PasswordPolicy

NOBODY: Final = UserId(UUID(int=0))


class PasswordSignIns:
    def __init__(
        self,
        log: EventLog,
        guard: SignInGuard,
        codes: OneTimeCodes,
        sender: OtpSender,
        sign_ins: SignIns,
        sessions: UserSessions,
        identifiers: Identifiers,
        passwords: Passwords,
        vault: PersonalData,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._guard = guard
        self._codes = codes
        self._sender = sender
        self._sign_ins = sign_ins
        self._sessions = sessions
        self._identifiers = identifiers
        self._passwords = passwords
        self._kept = KeptPasswords(vault)
        self._clock = clock
        self._ids = ids

    async def sign_in(self, entry: Entry, email: str, password: str) -> Tokens:
        """A session for who has the password of the address.

        Raises Unauthenticated (`credentials_invalid`), whatever is wrong; Unavailable
        (`sign_in_busy`), what the guard raises and, for who has the password, Forbidden
        (`password_expired`, `user_suspended`, `user_erased`).
        """
        address = self._identifiers.normalised({"email": email})["email"]
        tenant = await self._guard.admit(entry, "password", address)
        owner = await self._identifiers.owner(entry.tenant_id, "email", address)
        user = await self._proved(entry.tenant_id, owner, password, entry.address)
        self._check_age(tenant, user)
        return await self._sessions.open(entry, user, "password")

    async def prove(self, person: UserPrincipal, address: str, password: str) -> None:
        """That the person, who is signed in, knows the password; `address` is where the request
        came from. Raises what `sign_in` raises."""
        tenant = await self._guard.admit(entry_of(person, address), "password", str(person.user_id))
        user = await self._proved(person.tenant_id, person.user_id, password, address)
        self._check_age(tenant, user)

    async def set(
        self, person: UserPrincipal, address: str, password: str, current: str | None
    ) -> None:
        """Have this password from now on; every other session of the person ends.

        `current` is the one before it, which may be left out just after signing in; `address` is
        where the request came from. Raises Invalid (`password_invalid`, `password_too_short`,
        `password_too_long`, `password_breached`, `password_reused`), Conflict (`email_missing`),
        Unauthenticated (`credentials_invalid`, `insufficient_user_authentication`), Unavailable
        (`sign_in_busy`) and what the guard raises.
        """
        tenant = await self._guard.admit(entry_of(person, address), "password", str(person.user_id))
        if current is None:
            us.check_fresh(person.authenticated_at, self._clock.now())
            user = await self._user(person.tenant_id, person.user_id)
        else:
            user = await self._proved(person.tenant_id, person.user_id, current, address)
        by: u.PasswordSetBy = "changed" if user.has_password else "set"
        policy = t.password_policy(tenant.settings)
        wanted = await self._passwords.check(password, policy)
        await self._keep(person, self._ids.uuid(), policy, user, wanted, by)
        await self._sessions.end_all(
            person, person.user_id, "password_changed", but=person.session_id
        )

    async def give_up(self, person: UserPrincipal) -> None:
        """Have no password any more.

        Raises NotFound (`way_in_not_found`), Conflict (`last_way_in`), Unauthenticated
        (`insufficient_user_authentication`).
        """
        us.check_fresh(person.authenticated_at, self._clock.now())
        tenant = t.rebuild(await self._log.load(person.tenant_id, person.tenant_id))
        assert tenant is not None, "a session is of a tenant"
        allowed = frozenset(tenant.settings.auth_methods)
        await execute(
            self._log,
            person.origin(self._ids.uuid()),
            person.tenant_id,
            person.user_id,
            u.rebuild,
            lambda found: u.unlink(_known(found), "password", allowed),
        )
        of = (person.tenant_id, person.user_id)
        await self._kept.give_up(
            *of, await self._kept.latest(*of, tenant.settings.password_history)
        )
        await self._sessions.end_all(
            person, person.user_id, "password_changed", but=person.session_id
        )

    async def request_reset(self, entry: Entry, email: str, locale: str) -> Challenged:
        """Send a code to the address, whoever has it: the work is the same, and so is the answer.

        Raises Invalid (`email_invalid`), TooMany, Unavailable (`otp_not_sent`), and what the guard
        raises.
        """
        address = self._identifiers.normalised({"email": email})["email"]
        await self._guard.admit(entry, "password", address)
        return await self._codes.send(
            self._sender,
            entry.tenant_id,
            self._bound(entry),
            address,
            locale,
            self._sign_ins.budgets(entry.tenant_id, "email", address),
        )

    async def reset(
        self, entry: Entry, challenge_id: ChallengeId, code: str, password: str
    ) -> None:
        """Have this password from now on, for who holds the address; every session ends.

        A code is good for one password, and may be shown again until it has set it: what was lost
        with its answer works or does not. Raises Gone (`challenge_expired`) after that, what
        `OneTimeCodes.prove` and the guard raise, NotFound (`user_not_found`) to who holds an
        address that is nobody's, and Invalid and Unavailable as `set` does.
        """
        tenant = await self._guard.admit(entry, "password", str(challenge_id))
        # Before the code is spent: a password that will not do can be mended. Whether the person
        # had it before is only for the code's holder to know.
        policy = t.password_policy(tenant.settings)
        wanted = await self._passwords.check(password, policy)
        try:
            attempt = await self._codes.prove(
                entry.tenant_id, self._bound(entry), challenge_id, code
            )
        except (Invalid, Conflict, Gone, NotFound):
            await self._guard.failed(entry.tenant_id, entry.address)
            raise
        assert attempt.destination is not None, "a right code has a destination"
        owner = await self._identifiers.owner(entry.tenant_id, "email", attempt.destination)
        if owner is None:
            raise NotFound("user_not_found", "sign up with a code first")
        user = await self._user(entry.tenant_id, owner)
        caller = Caller(
            tenant_id=entry.tenant_id,
            actor=user_actor(owner),
            correlation_id=entry.correlation_id,
        )
        # One command for each code: of two at once, and of a repeat, one sets a password.
        command_id = uuid5(challenge_id, "password_reset")
        if not await self._keep(caller, command_id, policy, user, wanted, "reset"):
            raise Gone("challenge_expired", "it has set a password; ask for another code")
        await self._sessions.end_all(caller, owner, "password_changed")

    async def _proved(
        self, tenant_id: TenantId, user_id: UserId | None, password: str, address: str
    ) -> u.User:
        """The person, whose password it is.

        Looks for a hash and compares with one also where there is no person, or no hash. Raises
        Unauthenticated (`credentials_invalid`), Unavailable (`sign_in_busy`).
        """
        owner = user_id or NOBODY
        # Before the hash: whoever sets another meanwhile makes this one a person of before.
        user = u.rebuild(await self._log.load(tenant_id, owner))
        hashed = await self._kept.present(tenant_id, owner)
        proved = await self._passwords.prove(password, hashed)
        if proved.right and hashed is not None and user is not None and user.has_password:
            if proved.renewed is not None:
                await self._kept.renew(tenant_id, owner, hashed, proved.renewed)
            return user
        await self._guard.failed(tenant_id, address)
        raise Unauthenticated("credentials_invalid")

    async def _keep(
        self,
        caller: Caller,
        command_id: UUID,
        policy: PasswordPolicy,
        user: u.User,
        wanted: str,
        by: u.PasswordSetBy,
    ) -> bool:
        """Whether it is the password now, and not another that the same command has set before.

        Event and hash are one commit: a password works from the moment that the log says.
        """
        u.set_password(user, by)
        before = await self._kept.latest(caller.tenant_id, user.id, policy.history)
        hashed = await self._passwords.taken(wanted, before)
        past = before[: policy.remember]
        done = await execute(
            self._log,
            caller.origin(command_id),
            caller.tenant_id,
            user.id,
            u.rebuild,
            lambda found: u.set_password(_known(found), by),
            keeping=lambda: self._kept.sealed(caller.tenant_id, user.id, hashed, past),
        )
        if not done.events:
            return False
        if not past:
            await self._kept.forget_past(caller.tenant_id, user.id)
        return True

    def _check_age(self, tenant: t.Tenant, user: u.User) -> None:
        assert user.password_set_at is not None, "who has a password has set it"
        t.password_policy(tenant.settings).check_age(user.password_set_at, self._clock.now())

    async def _user(self, tenant_id: TenantId, user_id: UserId) -> u.User:
        return _known(u.rebuild(await self._log.load(tenant_id, user_id)))

    @staticmethod
    def _bound(entry: Entry) -> UUID:
        return binding(entry.tenant_id, "password_reset", entry.installation)


def _known(user: u.User | None) -> u.User:
    assert user is not None, "an address and a session are a user's"
    return user
