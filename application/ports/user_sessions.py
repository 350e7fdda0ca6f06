"""What a signed-in person holds: access tokens to show, and the line of refresh tokens."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from domain.ids import TenantId, UserId, UserSessionId
from domain.user_session import EndReason, Exchange, Line, SignInMethod


class UserToken(msgspec.Struct, frozen=True, kw_only=True):
    """What a verified user token says."""

    tenant_id: TenantId
    user_id: UserId
    session_id: UserSessionId


class UserTokens(Protocol):
    def issue(
        self,
        tenant_id: TenantId,
        user_id: UserId,
        session_id: UserSessionId,
        methods: Sequence[SignInMethod],
        authenticated_at: datetime,
        lifetime_s: int,
        bound_to: str | None = None,
    ) -> str:
        """`bound_to` is the thumbprint of the key that must prove possession with every use."""
        ...

    def verify(self, token: str) -> UserToken:
        """Raises Unauthenticated: `token_expired`, or `token_invalid` whatever is wrong."""
        ...


class SessionLines(Protocol):
    """One line for each session. Every method is atomic across processes."""

    async def open(self, tenant_id: TenantId, line: Line, at_most: int) -> Sequence[UserSessionId]:
        """Keep a new line, and end the oldest of the person's others (`session_limit_reached`) so
        that `at_most` are alive, however many are opened at once; those that ended."""
        ...

    async def find(self, tenant_id: TenantId, session_id: UserSessionId) -> Line | None: ...

    async def exchange(
        self,
        tenant_id: TenantId,
        session_id: UserSessionId,
        decide: Callable[[Line], Exchange],
    ) -> Exchange | None:
        """Let one caller at a time decide on the line, and keep what was decided."""
        ...

    async def of_user(self, tenant_id: TenantId, user_id: UserId) -> Sequence[Line]:
        """The person's lines that are alive, newest first."""
        ...

    async def end(
        self, tenant_id: TenantId, session_id: UserSessionId, reason: EndReason
    ) -> Line | None:
        """End a line, for good; the line as it is then. None when there is none."""
        ...

    async def forget(self, tenant_id: TenantId, user_id: UserId) -> None:
        """Delete every line of the person."""
        ...
