"""Sessions of console people: a token that means nothing without its row, asked for every request.

A token is its tenant, its session, and a keyed digest of both; nothing of it is stored. Ending a
session deletes its row, so that the next request with it, in whatever process, opens nothing.
"""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec

from application.admission import check_served
from application.console.password_policy import console_policy
from application.execute import execute, stream_of
from application.ports import Clock, Digests, EventLog, IdSource, Streams
from application.ports.console import ConsoleSessions
from application.principals import Caller, OperatorPrincipal, SetupStep, operator_actor
from domain import operator as o
from domain import operator_session as os
from domain import tenant as t
from domain.errors import NotFound, Unauthenticated
from domain.ids import OperatorId, OperatorSessionId, TenantId

TOKEN_PREFIX: Final = "lcs_"  # noqa: S105 - what a token begins with
_TOKEN: Final = re.compile(TOKEN_PREFIX + r"([0-9a-f]{32})([0-9a-f]{32})_([\w-]{43})", re.A)
_PURPOSE: Final = "console_session"
SEEN_EVERY: Final = timedelta(minutes=1)

_tenant: Final = stream_of(t.TenantCreated, t.rebuild)


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A new session with its token, and what is still to be done before it opens anything else."""

    session: os.OpenSession
    token: str
    pending: tuple[SetupStep, ...]


class OperatorSessions:
    def __init__(
        self,
        log: EventLog,
        streams: Streams,
        sessions: ConsoleSessions,
        digests: Digests,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._streams = streams
        self._sessions = sessions
        self._digests = digests
        self._clock = clock
        self._ids = ids

    async def open(self, caller: Caller, operator: o.Operator, method: os.Method) -> Opened:
        """A session of somebody who has just proved who it is, as `operator` then was.

        Raises Unauthenticated (`credentials_invalid`) where something else counts by now: whoever
        changes it ends the sessions that there are, and this one might not have been there yet.
        """
        now = self._clock.now()
        session = os.OpenSession(
            session_id=OperatorSessionId(self._ids.uuid()),
            operator_id=operator.id,
            method=method,
            started_at=now,
            seen_at=now,
            expires_at=now + os.LIVES,
        )
        started = os.OperatorSessionStarted(
            operator_id=operator.id, method=method, expires_at=session.expires_at
        )
        actor = msgspec.structs.replace(caller, actor=operator_actor(operator.id))
        await execute(
            self._log,
            actor.origin(self._ids.uuid()),
            operator.tenant_id,
            session.session_id,
            os.rebuild,
            lambda state: os.start(state, started),
        )
        await self._sessions.forget_expired(operator.tenant_id, operator.id, now)
        await self._sessions.open(operator.tenant_id, session)
        # After the row: who changes something from here on finds it.
        if not await self._unchanged(operator):
            await self._end(actor, operator.tenant_id, session, "revoked")
            raise Unauthenticated("credentials_invalid")
        return Opened(
            session=session,
            token=self._token(operator.tenant_id, session.session_id),
            pending=await self.pending(operator),
        )

    async def _unchanged(self, operator: o.Operator) -> bool:
        present = o.rebuild(await self._log.load(operator.tenant_id, operator.id))
        return present is not None and present.proofs == operator.proofs

    async def authenticate(self, token: str, correlation_id: UUID) -> OperatorPrincipal:
        """Who shows this token, as the log and the row have it at this very moment.

        Raises Unauthenticated (`token_invalid`), for what has ended too, and Forbidden
        (`tenant_suspended`).
        """
        tenant_id, session_id = self._read(token)
        session = await self._sessions.find(tenant_id, session_id)
        now = self._clock.now()
        if session is None or not session.alive(now):
            raise Unauthenticated("token_invalid")
        operator = o.rebuild(await self._log.load(tenant_id, session.operator_id))
        if operator is None or operator.status != "active":
            raise Unauthenticated("token_invalid")
        await check_served(self._streams, tenant_id)
        if now - session.seen_at >= SEEN_EVERY:
            await self._sessions.seen(tenant_id, session_id, now)
        return OperatorPrincipal(
            tenant_id=tenant_id,
            actor=operator_actor(operator.id),
            correlation_id=correlation_id,
            operator_id=operator.id,
            session_id=session_id,
            authenticated_at=session.started_at,
            home=tenant_id,
            role=operator.role,
            pending=await self.pending(operator),
        )

    async def pending(self, operator: o.Operator) -> tuple[SetupStep, ...]:
        """What the person has to do before anything else."""
        steps: list[SetupStep] = []
        if operator.must_change_password or await self._password_expired(operator):
            steps.append("change_password")
        if not operator.has_second_factor and await self.second_factor_required(operator):
            steps.append("enroll_second_factor")
        return tuple(steps)

    async def second_factor_required(self, operator: o.Operator) -> bool:
        """Of admins always, of operators where their tenant wants it (design §2 row 13)."""
        if operator.role != "tenant_operator":
            return True
        tenant = await self._streams.state(operator.tenant_id, operator.tenant_id, _tenant)
        return tenant is None or tenant.settings.operator_second_factor_required

    async def _password_expired(self, operator: o.Operator) -> bool:
        if operator.password_set_at is None:
            return False
        tenant = await self._streams.state(operator.tenant_id, operator.tenant_id, _tenant)
        return console_policy(tenant).expired(operator.password_set_at, self._clock.now())

    async def of_operator(
        self, tenant_id: TenantId, operator_id: OperatorId
    ) -> Sequence[os.OpenSession]:
        """The sessions that are open, newest first."""
        found = await self._sessions.of_operator(tenant_id, operator_id)
        return [each for each in found if each.alive(self._clock.now())]

    async def end(
        self,
        caller: Caller,
        operator: tuple[TenantId, OperatorId],
        session_id: UUID,
        reason: os.EndReason,
    ) -> None:
        """Raises NotFound (`session_not_found`), for another person's too."""
        tenant_id, operator_id = operator
        found = await self._sessions.find(tenant_id, OperatorSessionId(session_id))
        if found is None or found.operator_id != operator_id:
            raise NotFound("session_not_found")
        await self._end(caller, tenant_id, found, reason)

    async def end_all(
        self,
        caller: Caller,
        operator: tuple[TenantId, OperatorId],
        reason: os.EndReason,
        but: OperatorSessionId | None = None,
    ) -> None:
        """End every session of the person, `but` one."""
        tenant_id, operator_id = operator
        for session in await self._sessions.of_operator(tenant_id, operator_id):
            if session.session_id != but:
                await self._end(caller, tenant_id, session, reason)

    async def _end(
        self, caller: Caller, tenant_id: TenantId, session: os.OpenSession, reason: os.EndReason
    ) -> None:
        # The row first: from here on nothing opens, whether or not the log can be told.
        await self._sessions.end(tenant_id, session.session_id)
        await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            tenant_id,
            session.session_id,
            os.rebuild,
            lambda state: os.end(state, reason),
        )

    def _token(self, tenant_id: TenantId, session_id: OperatorSessionId) -> str:
        named = f"{tenant_id.hex}{session_id.hex}"
        return f"{TOKEN_PREFIX}{named}_{self._digests.digest(_PURPOSE, named)}"

    def _read(self, token: str) -> tuple[TenantId, OperatorSessionId]:
        found = _TOKEN.fullmatch(token)
        if found is None:
            raise Unauthenticated("token_invalid")
        tenant, session, digest = found.groups()
        if not self._digests.matches(_PURPOSE, f"{tenant}{session}", digest):
            raise Unauthenticated("token_invalid")
        return TenantId(UUID(hex=tenant)), OperatorSessionId(UUID(hex=session))
