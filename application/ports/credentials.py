"""Tokens, secrets and keyed digests: how callers prove who they are."""

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec

from domain.ids import OAuthClientId, TenantId
from domain.oauth_client import ClientMetadata, OAuthClient, PublicJwk


class AccessToken(msgspec.Struct, frozen=True, kw_only=True):
    """What a verified token says: which client of which tenant, with which scopes, until when."""

    client_id: OAuthClientId
    tenant_id: TenantId
    scopes: frozenset[str]
    issued_at: datetime
    expires_at: datetime
    jti: str
    bound_to: str | None = None
    """The thumbprint of the key that must prove possession with every use (RFC 9449 §6.1)."""
    certificate: str | None = None
    """The thumbprint of the certificate whose connections may use it (RFC 8705 §3.1)."""


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
        bound_to: str | None = None,
        certificate: str | None = None,
    ) -> IssuedToken: ...

    def verify(self, token: str) -> AccessToken:
        """Raises Unauthenticated: `token_expired`, or `token_invalid` whatever is wrong."""
        ...


class ClientCertificates(Protocol):
    """Certificates by which clients prove who they are (RFC 8705 §2)."""

    def check(self, pems: Sequence[str]) -> tuple[str, ...]:
        """The same certificates as they may go into the log and be trusted.

        Raises Invalid (`client_keys_invalid`) unless each is one certificate, in PEM.
        """
        ...

    def belongs(self, der: bytes, metadata: ClientMetadata) -> bool:
        """Whether a certificate that was shown in a handshake is this client's."""
        ...


class DpopProofs(Protocol):
    async def accept(
        self, proof: str, *, tenant_id: TenantId, method: str, url: str, token: str | None
    ) -> str:
        """The thumbprint of the key that signed this proof for this very request.

        `token` is the access token that is used with it, None where one is asked for. Raises
        Unauthenticated (`invalid_dpop_proof`), also for one that was shown before, and
        (`use_dpop_nonce`, with `dpop_nonce`) where the tenant wants a nonce of ours in it.
        """
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
    """Client secrets: kept as keyed digests outside the log, each under its number."""

    async def store(
        self, tenant_id: TenantId, owner: UUID, number: int, secret_digest: str
    ) -> None:
        """Keep a secret. What is kept under a number is never another one."""
        ...

    async def destroy(self, tenant_id: TenantId, owner: UUID, number: int) -> None: ...

    async def digest_of(self, tenant_id: TenantId, owner: UUID, number: int) -> str | None:
        """The digest that was kept; the log says whether the number is live."""
        ...


class ClientDirectory(Protocol):
    async def tenant_of(self, client_id: UUID) -> TenantId | None:
        """Whose client this is; None when there never was one of this id."""
        ...


class ClientAssertions(Protocol):
    """JWTs by which clients prove who they are (RFC 7523 §3)."""

    def check_keys(self, jwks: Sequence[PublicJwk]) -> None:
        """Raises Invalid (`client_keys_invalid`) unless each is a key that we can verify with."""
        ...

    def named(self, assertion: str) -> str:
        """Whose it claims to be, unproven. Raises Unauthenticated (`invalid_client`)."""
        ...

    async def accept(self, assertion: str, client: OAuthClient, audiences: Set[str]) -> None:
        """Returns when it is this client's, meant for us, of now and shown for the first time.

        Raises Unauthenticated (`invalid_client`).
        """
        ...
