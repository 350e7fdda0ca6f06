"""Operator session: one sign-in of one console person, and its end.

The log knows that it began and why it ended. When it was last used is a row outside the log; what
may be done with it is asked of the person's own stream, at every request.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import ClassVar, Final, Literal

import msgspec

from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import OperatorId, OperatorSessionId, TenantId

Method = Literal[
    "password", "password_totp", "password_recovery_code", "password_passkey", "passkey"
]
EndReason = Literal[
    "signed_out",
    "revoked",
    "password_changed",
    "second_factor_changed",
    "role_changed",
    "suspended",
    "removed",
    "recovered",
]

IDLE: Final = timedelta(minutes=30)
LIVES: Final = timedelta(hours=12)
"""From the last request, and from the sign-in (NIST SP 800-63B-4 §2.2.3, AAL2: 1 h and 24 h)."""


class OperatorSessionStarted(DomainEvent, frozen=True, kw_only=True):
    """A console person signed in."""

    NAME: ClassVar[str] = "operator_session.started"
    operator_id: OperatorId
    method: Method
    expires_at: datetime


class OperatorSessionEnded(DomainEvent, frozen=True, kw_only=True):
    """The session's token opens nothing any more."""

    NAME: ClassVar[str] = "operator_session.ended"
    operator_id: OperatorId
    reason: EndReason


OperatorSessionEvent = OperatorSessionStarted | OperatorSessionEnded


class OperatorSession(msgspec.Struct, frozen=True, kw_only=True):
    id: OperatorSessionId
    tenant_id: TenantId
    operator_id: OperatorId
    ended: bool = False


class OpenSession(msgspec.Struct, frozen=True, kw_only=True):
    """Where a session stands. `seen_at` is at most a minute behind the last request."""

    session_id: OperatorSessionId
    operator_id: OperatorId
    method: Method
    started_at: datetime
    seen_at: datetime
    expires_at: datetime

    @property
    def idle_until(self) -> datetime:
        return self.seen_at + IDLE

    def alive(self, now: datetime) -> bool:
        return now < min(self.idle_until, self.expires_at)


def start(
    session: OperatorSession | None, started: OperatorSessionStarted
) -> list[OperatorSessionEvent]:
    return [] if session is not None else [started]


def end(session: OperatorSession | None, reason: EndReason) -> list[OperatorSessionEvent]:
    """Ending it again says nothing."""
    if session is None or session.ended:
        return []
    return [OperatorSessionEnded(operator_id=session.operator_id, reason=reason)]


def evolve(session: OperatorSession | None, recorded: Recorded) -> OperatorSession:
    match recorded.event:
        case OperatorSessionStarted() as event:
            return OperatorSession(
                id=OperatorSessionId(recorded.stream_id),
                tenant_id=recorded.tenant_id,
                operator_id=event.operator_id,
            )
        case OperatorSessionEnded() if session is not None:
            return msgspec.structs.replace(session, ended=True)
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> OperatorSession | None:
    return fold(evolve, past)
