"""AccessToken: one that was issued, of which the log knows only that it was revoked (RFC 7009).

Issuing one writes nothing. Its stream begins, and ends, with its revocation.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar

import msgspec

from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import OAuthClientId


class AccessTokenRevoked(DomainEvent, frozen=True, kw_only=True):
    """The client gave the token back: it opens nothing any more. After `expires_at` nor would it
    have."""

    NAME: ClassVar[str] = "access_token.revoked"
    client_id: OAuthClientId
    expires_at: datetime


class RevokedToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token that is no longer good; there is no state of one that is."""

    expires_at: datetime


def revoke(
    token: RevokedToken | None, *, client_id: OAuthClientId, expires_at: datetime
) -> list[AccessTokenRevoked]:
    if token is not None:
        return []
    return [AccessTokenRevoked(client_id=client_id, expires_at=expires_at)]


def evolve(token: RevokedToken | None, recorded: Recorded) -> RevokedToken:
    del token
    match recorded.event:
        case AccessTokenRevoked(expires_at=expires_at):
            return RevokedToken(expires_at=expires_at)
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> RevokedToken | None:
    return fold(evolve, past)
