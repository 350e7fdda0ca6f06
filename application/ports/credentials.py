"""Tokens, secrets and keyed digests: how callers prove who they are."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec

from domain.ids import OAuthClientId, TenantId


class AccessToken(msgspec.Struct, frozen=True, kw_only=True):
    """What a verified token says: which client of which tenant, with which scopes, until when."""

    client_id: OAuthClientId
    tenant_id: TenantId
    scopes: frozenset[str]
    issued_at: datetime
    expires_at: datetime
    jti: str


class IssuedToken(msgspec.Struct, frozen=True, kw_only=True):
    """What the token endpoint answers with (RFC 6749 §5.1). `expires_in` is in seconds."""

    access_token: str
    expires_in: int
    scope: str


class AccessTokens(Protocol):
    def issue(
        self,
        tenant_id: TenantId,
        client_id: OAuthClientId,
        scopes: Iterable[str],
        lifetime_s: int = ...,
    ) -> IssuedToken: ...

    def verify(self, token: str) -> AccessToken:
        """Raises Unauthenticated: `token_expired`, or `token_invalid` whatever is wrong."""
        ...


class PublicKeys(Protocol):
    def jwks(self) -> Mapping[str, Any]:
        """Every public key that signs for this platform, as a JWK set (RFC 7517)."""
        ...


class Digests(Protocol):
    """Keyed digests: lookups and comparisons without keeping the thing itself."""

    def digest(self, purpose: str, value: str) -> str:
        """HMAC-SHA-256 of `value` under the key of `purpose`, base64url without padding."""
        ...

    def matches(self, purpose: str, value: str, digest: str) -> bool:
        """Whether `digest` is of `value`, in constant time."""
        ...


class Commitments(Protocol):
    """Digests of what may be guessed, that only the holder of a tenant's key can compute.

    Each is salted for its subject, so that equal values of two subjects have nothing in common,
    and one can be opened to an auditor by telling its salt without opening another.
    """

    async def commit(self, tenant_id: TenantId, subject: UUID, kind: str, value: bytes) -> str:
        """SHA-256 over salt, `kind` and `value`, base64url without padding; always the same."""
        ...


class Secrets(Protocol):
    """Client secrets: kept as digests outside the log."""

    async def store(self, tenant_id: TenantId, owner: UUID, secret_digest: str) -> None: ...

    async def verify(self, owner: UUID, secret_digest: str) -> TenantId | None:
        """The owner's tenant when the digest is one of its live secrets."""
        ...
