"""User sessions: opened by a sign-in, kept by refresh tokens, ended by whoever may.

A refresh token is its session, its number, and a keyed digest of both: nothing of it is stored, and
the one after it can be told again to whoever lost it. The line is changed first and the log is told
next; ending a session that has ended tells the log again, so nothing is left untold.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid5

import msgspec

from application.admission import check_served
from application.execute import execute
from application.people.sign_in_guard import Entry, SignInGuard
from application.ports import Clock, Digests, EventLog, IdSource, Streams
from application.ports.user_sessions import SessionLines, UserTokens
from application.principals import Caller, UserPrincipal, user_actor
from domain import tenant as t
from domain import user as u
from domain import user_session as us
from domain.errors import NotFound, Unauthenticated
from domain.ids import TenantId, UserId, UserSessionId

_REFRESH: Final = re.compile(
    r"urt_([0-9a-f]{32})([0-9a-f]{32})_([1-9][0-9]{0,8})_([\w-]{43})", re.A
)


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What a signed-in person's app is given."""

    user_id: UserId
    session_id: UserSessionId
    access_token: str
    expires_in_s: int
    refresh_token: str
    key_bound: bool


class Reauthenticated(msgspec.Struct, frozen=True, kw_only=True):
    """An access token of a session that was authenticated just now, and by what."""

    access_token: str
    expires_in_s: int
    key_bound: bool
    authenticated_at: datetime
    acr: str
    proved_by: tuple[us.SignInMethod, ...]


Possession = Callable[[TenantId], Awaitable[str | None]]
"""The thumbprint of the key that a request proves, None for a request that proves none. Raises
Unauthenticated (`invalid_dpop_proof`)."""


async def _nothing_proved(_: TenantId) -> None:
    return None


class UserSessions:
    def __init__(
        self,
        log: EventLog,
        streams: Streams,
        lines: SessionLines,
        tokens: UserTokens,
        guard: SignInGuard,
        digests: Digests,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._streams = streams
        self._lines = lines
        self._tokens = tokens
        self._guard = guard
        self._digests = digests
        self._clock = clock
        self._ids = ids

    async def open(self, entry: Entry, user: u.User, method: us.SignInMethod) -> Tokens:
        """A session of somebody who has just proved who it is, as `user` then was.

        Raises Forbidden (`user_suspended`, `user_erased`) and, where it was by a password that is
        another by now, Unauthenticated (`credentials_invalid`).
        """
        u.serve(user)
        tenant_id = entry.tenant_id
        settings = await self._settings(tenant_id)
        now = self._clock.now()
        line = us.Line(
            session_id=UserSessionId(self._ids.uuid()),
            user_id=user.id,
            method=method,
            installation=self._installation(tenant_id, entry.installation),
            number=1,
            rotated_at=now,
            authenticated_at=now,
            created_at=now,
            idle_until=now + timedelta(days=settings.session_idle_days),
            expires_at=now + timedelta(days=settings.session_days),
            key_thumbprint=entry.key_thumbprint,
        )
        started = us.UserSessionStarted(
            user_id=user.id,
            method=method,
            installation=line.installation,
            key_bound=line.key_thumbprint is not None,
            expires_at=line.expires_at,
        )
        actor = msgspec.structs.replace(entry.caller(), actor=user_actor(user.id))
        await execute(
            self._log,
            actor.origin(self._ids.uuid()),
            tenant_id,
            line.session_id,
            us.rebuild,
            lambda session: us.start(session, started),
        )
        for ended in await self._lines.open(tenant_id, line, settings.sessions_max):
            await self._tell_end(actor, ended, "session_limit_reached")
        # After the line: who changes the password from here on finds it, and ends it.
        if method == "password" and await self._password_changed(user):
            await self._lines.end(tenant_id, line.session_id, "password_changed")
            await self._tell_end(actor, line.session_id, "password_changed")
            raise Unauthenticated("credentials_invalid")
        return self._handed_out(tenant_id, line, settings)

    async def refresh(
        self,
        token: str,
        installation: str,
        address: str,
        correlation_id: UUID,
        possession: Possession = _nothing_proved,
    ) -> Tokens:
        """Tokens for a refresh token (reference identity.md §5.3); the same refresh token again
        where the session is bound to a key, which `possession` then says was proved.

        Raises Unauthenticated (`refresh_token_invalid`), whatever is wrong; a token that was spent
        before ends its session. Raises Forbidden (`tenant_suspended`, `user_suspended`,
        `user_erased`).
        """
        await self._guard.admit_token(address)
        try:
            return await self._refreshed(token, installation, correlation_id, possession)
        except Unauthenticated:
            await self._guard.failed_token(address)
            raise

    async def _refreshed(
        self, token: str, installation: str, correlation_id: UUID, possession: Possession
    ) -> Tokens:
        tenant_id, session_id, number = self._read(token)
        settings = await self._settings(tenant_id)
        before = await self._lines.find(tenant_id, session_id)
        if before is not None:
            # Before the token is spent: whoever is suspended today may be served tomorrow.
            await self._check_served(tenant_id, before.user_id)
        presented = us.Presented(
            number=number,
            installation=self._installation(tenant_id, installation),
            key_thumbprint=await possession(tenant_id),
        )
        now, idle = self._clock.now(), timedelta(days=settings.session_idle_days)
        exchanged = await self._lines.exchange(
            tenant_id, session_id, lambda line: us.exchange(line, presented, now, idle)
        )
        if exchanged is None:
            raise Unauthenticated("refresh_token_invalid")
        line = exchanged.line
        if exchanged.outcome != "served":
            caller = Caller(
                tenant_id=tenant_id, actor="user:unknown", correlation_id=correlation_id
            )
            if line.ended_by == "refresh_token_reused":
                await self._tell_reuse(caller, line, presented)
            elif line.ended_by == "session_limit_reached":
                # Whoever signed in elsewhere may have been cut off before the log was told.
                await self._tell_end(caller, line.session_id, line.ended_by)
            raise Unauthenticated("refresh_token_invalid")
        return self._handed_out(tenant_id, line, settings)

    async def authenticate(self, token: str, correlation_id: UUID) -> UserPrincipal:
        """Who shows this access token. Raises Unauthenticated (`token_invalid`, `token_expired`),
        for an ended session and a person who is not served too, and Forbidden
        (`tenant_suspended`)."""
        said = self._tokens.verify(token)
        await check_served(self._streams, said.tenant_id)
        line = await self._lines.find(said.tenant_id, said.session_id)
        user = await self._streams.state(said.tenant_id, said.user_id, u.rebuild)
        if line is None or user is None or not line.alive(self._clock.now()):
            raise Unauthenticated("token_invalid")
        if line.user_id != said.user_id or user.status != "active":
            raise Unauthenticated("token_invalid")
        return UserPrincipal(
            tenant_id=said.tenant_id,
            actor=user_actor(said.user_id),
            correlation_id=correlation_id,
            user_id=said.user_id,
            session_id=said.session_id,
            authenticated_at=line.authenticated_at,
            key_thumbprint=line.key_thumbprint,
        )

    async def reauthenticate(
        self, person: UserPrincipal, method: us.SignInMethod
    ) -> Reauthenticated:
        """The session of somebody who has just proved again who it is, by `method`.

        The log is told first: no session is fresher than it knows. Raises Unauthenticated
        (`token_invalid`) for a session that ended meanwhile.
        """
        settings = await self._settings(person.tenant_id)
        await execute(
            self._log,
            person.origin(self._ids.uuid()),
            person.tenant_id,
            person.session_id,
            us.rebuild,
            lambda session: us.reauthenticate(session, method),
        )
        now = self._clock.now()
        proved = await self._lines.exchange(
            person.tenant_id, person.session_id, lambda line: us.prove_again(line, method, now)
        )
        if proved is None or proved.outcome != "served":
            raise Unauthenticated("token_invalid")
        tokens = self._handed_out(person.tenant_id, proved.line, settings)
        return Reauthenticated(
            access_token=tokens.access_token,
            expires_in_s=tokens.expires_in_s,
            key_bound=tokens.key_bound,
            authenticated_at=now,
            acr=us.acr(proved.line.amr),
            proved_by=proved.line.amr,
        )

    async def end_own(self, person: UserPrincipal, session_id: UUID) -> None:
        """End one of one's own sessions, another one only just after a proof. Raises what `end`
        raises, and Unauthenticated (`insufficient_user_authentication`)."""
        if session_id != person.session_id:
            us.check_fresh(person.authenticated_at, self._clock.now())
        await self.end(person, person.user_id, session_id, "revoked_by_user")

    async def of_user(self, tenant_id: TenantId, user_id: UserId) -> Sequence[us.Line]:
        """The sessions that are open, newest first."""
        return await self._lines.of_user(tenant_id, user_id)

    async def end(
        self, caller: Caller, user_id: UserId, session_id: UUID, reason: us.EndReason
    ) -> None:
        """Raises NotFound (`session_not_found`), for another person's too; again, it says
        nothing."""
        found = await self._lines.find(caller.tenant_id, UserSessionId(session_id))
        if found is None or found.user_id != user_id:
            raise NotFound("session_not_found")
        await self._lines.end(caller.tenant_id, found.session_id, reason)
        await self._tell_end(caller, found.session_id, reason)

    async def end_all(
        self,
        caller: Caller,
        user_id: UserId,
        reason: us.EndReason,
        but: UserSessionId | None = None,
    ) -> None:
        """End every session of the person, `but` one, however many they are."""
        while True:
            open_ones = await self._lines.of_user(caller.tenant_id, user_id)
            to_end = [line.session_id for line in open_ones if line.session_id != but]
            if not to_end:
                return
            for session_id in to_end:
                await self.end(caller, user_id, session_id, reason)

    async def forget(self, caller: Caller, user_id: UserId) -> None:
        """End every session of a person who is erased, and keep nothing of them."""
        await self.end_all(caller, user_id, "user_erased")
        await self._lines.forget(caller.tenant_id, user_id)

    async def _tell_reuse(self, caller: Caller, line: us.Line, presented: us.Presented) -> None:
        detected = us.UserSessionReuseDetected(
            user_id=line.user_id,
            presented=presented.number,
            current=line.number,
            holder=line.installation,
            presenter=presented.installation,
        )
        await execute(
            self._log,
            caller.origin(uuid5(line.session_id, "reuse")),
            caller.tenant_id,
            line.session_id,
            us.rebuild,
            lambda session: us.detect_reuse(session, detected),
        )

    async def _tell_end(
        self, caller: Caller, session_id: UserSessionId, reason: us.EndReason
    ) -> None:
        await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            caller.tenant_id,
            session_id,
            us.rebuild,
            lambda session: us.end(session, reason),
        )

    async def _password_changed(self, user: u.User) -> bool:
        present = u.rebuild(await self._log.load(user.tenant_id, user.id))
        return present is None or present.password_version != user.password_version

    async def _check_served(self, tenant_id: TenantId, user_id: UserId) -> None:
        """Raises Forbidden (`user_suspended`, `user_erased`)."""
        user = await self._streams.state(tenant_id, user_id, u.rebuild)
        assert user is not None, "a session is a user's"
        u.serve(user)

    async def _settings(self, tenant_id: TenantId) -> t.TenantSettings:
        tenant = await self._streams.state(tenant_id, tenant_id, t.rebuild)
        if tenant is None:
            raise Unauthenticated("refresh_token_invalid")
        t.serve(tenant)
        return tenant.settings

    def _handed_out(self, tenant_id: TenantId, line: us.Line, settings: t.TenantSettings) -> Tokens:
        lifetime = settings.user_token_s
        return Tokens(
            user_id=line.user_id,
            session_id=line.session_id,
            access_token=self._tokens.issue(
                tenant_id,
                line.user_id,
                line.session_id,
                line.amr,
                line.authenticated_at,
                lifetime,
                line.key_thumbprint,
            ),
            key_bound=line.key_thumbprint is not None,
            expires_in_s=lifetime,
            refresh_token=self._refresh_token(tenant_id, line.session_id, line.number),
        )

    def _refresh_token(self, tenant_id: TenantId, session_id: UserSessionId, number: int) -> str:
        named = f"{tenant_id.hex}{session_id.hex}_{number}"
        return f"urt_{named}_{self._digests.digest('refresh_token', named)}"

    def _read(self, token: str) -> tuple[TenantId, UserSessionId, int]:
        found = _REFRESH.fullmatch(token)
        if found is None:
            raise Unauthenticated("refresh_token_invalid")
        tenant, session, number, digest = found.groups()
        if not self._digests.matches("refresh_token", f"{tenant}{session}_{number}", digest):
            raise Unauthenticated("refresh_token_invalid")
        return TenantId(UUID(hex=tenant)), UserSessionId(UUID(hex=session)), int(number)

    def _installation(self, tenant_id: TenantId, installation: str) -> str:
        return self._digests.digest("installation", f"{tenant_id}:{installation}")
