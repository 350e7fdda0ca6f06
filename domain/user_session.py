"""User session: one sign-in of one person, its refresh tokens, and its end.

The log knows that a session began and why it ended. Which refresh token is the current one is a
`Line`, kept outside the log and changed under a lock: issuing tokens writes nothing into the log.

Refresh tokens are numbered. A client that proves a key keeps the one it has; a public client gets
the next number every time, and the number before it works for a little while longer, for the same
installation only: whoever lost an answer gets the same successor again (reference identity.md
§5.3).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import ClassVar, Final, Literal

import msgspec

from domain.errors import Unauthenticated
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import TenantId, UserId, UserSessionId

SignInMethod = Literal["otp_sms", "otp_email", "password", "google", "apple"]
EndReason = Literal[
    "signed_out",
    "revoked_by_user",
    "revoked_by_integrator",
    "refresh_token_reused",
    "session_limit_reached",
    "password_changed",
    "account_unlinked",
    "user_suspended",
    "user_erased",
]

FRESH_FOR: Final = timedelta(minutes=5)
"""How long ago a proof may be that stands for the person being there now."""
ACR_ONE_KIND: Final = "urn:link-identity:acr:1"
ACR_TWO_KINDS: Final = "urn:link-identity:acr:2"
_KINDS: Final[Mapping[SignInMethod, str]] = {
    "otp_sms": "address",
    "otp_email": "address",
    "password": "password",
    "google": "account",
    "apple": "account",
}

REPEAT_WITHIN: Final = timedelta(seconds=60)
"""How long a client whose answer was lost may ask again with the token that it still has."""


class UserSessionStarted(DomainEvent, frozen=True, kw_only=True):
    """A person signed in. `installation` is a keyed digest of what the app calls itself by."""

    NAME: ClassVar[str] = "user_session.started"
    user_id: UserId
    method: SignInMethod
    installation: str
    key_bound: bool
    expires_at: datetime


class UserSessionReauthenticated(DomainEvent, frozen=True, kw_only=True):
    """The person proved again, in the open session, who it is (RFC 9470)."""

    NAME: ClassVar[str] = "user_session.reauthenticated"
    user_id: UserId
    method: SignInMethod


class UserSessionReuseDetected(DomainEvent, frozen=True, kw_only=True):
    """A spent refresh token was presented: two hold what one was given, and neither is served.

    `holder` and `presenter` are the installations, digested; they are the same where a token was
    kept and sent again too late.
    """

    NAME: ClassVar[str] = "user_session.reuse_detected"
    user_id: UserId
    presented: int
    current: int
    holder: str
    presenter: str


class UserSessionEnded(DomainEvent, frozen=True, kw_only=True):
    """None of the session's tokens works any more."""

    NAME: ClassVar[str] = "user_session.ended"
    user_id: UserId
    reason: EndReason


UserSessionEvent = (
    UserSessionStarted | UserSessionReauthenticated | UserSessionReuseDetected | UserSessionEnded
)


class UserSession(msgspec.Struct, frozen=True, kw_only=True):
    id: UserSessionId
    tenant_id: TenantId
    user_id: UserId
    ended: bool = False


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """Where a session's refresh tokens stand. `number` is that of the current one.

    `proved_by` is what was proved at `authenticated_at`, the latest last; empty where that was the
    sign-in, by `method`.
    """

    session_id: UserSessionId
    user_id: UserId
    method: SignInMethod
    installation: str
    number: int
    rotated_at: datetime
    authenticated_at: datetime
    created_at: datetime
    idle_until: datetime
    expires_at: datetime
    key_thumbprint: str | None = None
    ended_at: datetime | None = None
    ended_by: EndReason | None = None
    proved_by: tuple[SignInMethod, ...] = ()

    @property
    def amr(self) -> tuple[SignInMethod, ...]:
        """Authentication Methods References (RFC 8176), in our own words."""
        return self.proved_by or (self.method,)

    def alive(self, now: datetime) -> bool:
        return self.ended_at is None and now < min(self.idle_until, self.expires_at)


class Presented(msgspec.Struct, frozen=True, kw_only=True):
    """A refresh token that is one of ours, and what came with it."""

    number: int
    installation: str
    key_thumbprint: str | None = None


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """What presenting a token came to, and the line as it is from now on.

    `served`: the token with `line.number` may be handed out. `reused`: the line has just ended.
    """

    outcome: Literal["served", "reused", "refused"]
    line: Line


def exchange(line: Line, presented: Presented, now: datetime, idle: timedelta) -> Exchange:
    """Decide on one refresh token. Pure, so that whoever holds the lock may apply it."""
    if not line.alive(now) or presented.key_thumbprint != line.key_thumbprint:
        return Exchange(outcome="refused", line=line)
    replace = msgspec.structs.replace
    served = replace(line, idle_until=now + idle)
    if line.key_thumbprint is not None:
        # Nobody else can use it, so there is nothing to gain from another one.
        outcome: Literal["served", "refused"] = (
            "served" if presented.number == line.number else "refused"
        )
        return Exchange(outcome=outcome, line=served if outcome == "served" else line)
    if presented.installation == line.installation:
        if presented.number == line.number:
            rotated = replace(served, number=line.number + 1, rotated_at=now)
            return Exchange(outcome="served", line=rotated)
        if presented.number == line.number - 1 and now < line.rotated_at + REPEAT_WITHIN:
            return Exchange(outcome="served", line=served)
    ended = replace(line, ended_at=now, ended_by="refresh_token_reused")
    return Exchange(outcome="reused", line=ended)


def acr(methods: Iterable[SignInMethod]) -> str:
    """Authentication Context Class: by how many kinds of ways in the person was proved together."""
    kinds = {_KINDS[method] for method in methods}
    return ACR_TWO_KINDS if len(kinds) > 1 else ACR_ONE_KIND


def prove_again(line: Line, method: SignInMethod, now: datetime) -> Exchange:
    """The line as it is once the person has proved who it is by `method` too."""
    if not line.alive(now):
        return Exchange(outcome="refused", line=line)
    lately = line.amr if now < line.authenticated_at + FRESH_FOR else ()
    proved_by = (*(each for each in lately if each != method), method)
    proved = msgspec.structs.replace(line, authenticated_at=now, proved_by=proved_by)
    return Exchange(outcome="served", line=proved)


def reauthenticate(session: UserSession | None, method: SignInMethod) -> list[UserSessionEvent]:
    """Raises Unauthenticated (`token_invalid`) for a session that has ended."""
    if session is None or session.ended:
        raise Unauthenticated("token_invalid")
    return [UserSessionReauthenticated(user_id=session.user_id, method=method)]


def check_fresh(authenticated_at: datetime, now: datetime) -> None:
    """Raises Unauthenticated (`insufficient_user_authentication`), which says how fresh (RFC 9470
    §3)."""
    if authenticated_at + FRESH_FOR < now:
        raise Unauthenticated(
            "insufficient_user_authentication",
            "prove again who you are, and ask within five minutes of it",
            extra={"max_age": int(FRESH_FOR.total_seconds())},
        )


def start(session: UserSession | None, started: UserSessionStarted) -> list[UserSessionEvent]:
    return [] if session is not None else [started]


def end(session: UserSession | None, reason: EndReason) -> list[UserSessionEvent]:
    """Ending it again says nothing."""
    if session is None or session.ended:
        return []
    return [UserSessionEnded(user_id=session.user_id, reason=reason)]


def detect_reuse(
    session: UserSession | None, detected: UserSessionReuseDetected
) -> list[UserSessionEvent]:
    if session is None or session.ended:
        return []
    return [detected, UserSessionEnded(user_id=session.user_id, reason="refresh_token_reused")]


def evolve(session: UserSession | None, recorded: Recorded) -> UserSession:
    match recorded.event:
        case UserSessionStarted() as event:
            return UserSession(
                id=UserSessionId(recorded.stream_id),
                tenant_id=recorded.tenant_id,
                user_id=event.user_id,
            )
        case UserSessionReauthenticated() | UserSessionReuseDetected() if session is not None:
            return session
        case UserSessionEnded() if session is not None:
            return msgspec.structs.replace(session, ended=True)
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> UserSession | None:
    return fold(evolve, past)
