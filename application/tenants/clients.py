"""Who an OAuth client is, proved by a secret, an assertion or a certificate, and what it may have a
token for (003 §3.7; RFC 6749 §2.3 and §4.4, RFC 7523, RFC 8705)."""

from collections.abc import Set
from typing import Final

import msgspec

from application.admission import check_served
from application.execute import stream_of
from application.ports import (
    ClientAssertions,
    ClientCertificates,
    ClientDirectory,
    Digests,
    Secrets,
    Streams,
)
from application.principals import Caller
from application.tenants.oauth_clients import SECRET_PURPOSE, OAuthClients
from domain import oauth_client as c
from domain.errors import Forbidden, Invalid, Unauthenticated
from domain.ids import OAuthClientId, TenantId, parse

client_stream: Final = stream_of(c.OAuthClientRegistered, c.rebuild)
"""A client's state, for `Streams`: one function, so that one state is kept."""


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """The only time that the secret is seen."""

    client_id: OAuthClientId
    secret: str


class SecretShown(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says of itself, with its secret."""

    client_id: str
    secret: str


class AssertionShown(msgspec.Struct, frozen=True, kw_only=True):
    """A signed JWT; `client_id` is None where the request leaves it to the JWT."""

    client_id: str | None
    assertion: str


class CertificateShown(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says of itself, with the certificate (DER) of its connection."""

    client_id: str
    certificate: bytes


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What an access token may be issued for."""

    tenant_id: TenantId
    client_id: OAuthClientId
    scopes: tuple[str, ...]


class Clients:
    def __init__(
        self,
        registry: OAuthClients,
        streams: Streams,
        directory: ClientDirectory,
        secrets: Secrets,
        digests: Digests,
        assertions: ClientAssertions,
        certificates: ClientCertificates,
    ) -> None:
        self._registry = registry
        self._streams = streams
        self._directory = directory
        self._secrets = secrets
        self._digests = digests
        self._assertions = assertions
        self._certificates = certificates

    async def register(self, caller: Caller, name: str, scopes: Set[str]) -> Registered:
        """A client that proves itself by a secret."""
        metadata = c.ClientMetadata(name=name, scopes=tuple(sorted(scopes)))
        made = await self._registry.register(caller, metadata)
        assert made.secret is not None, "a first registration shows its secret"
        return Registered(client_id=made.client.id, secret=made.secret)

    async def authenticate(
        self, shown: SecretShown | AssertionShown | CertificateShown, audiences: Set[str]
    ) -> c.OAuthClient:
        """The client behind what was shown; `audiences` are the names that we go by here.

        Raises Unauthenticated (`invalid_client`) alike for an unknown client, a wrong proof, a
        proof of another kind than is registered, a client that is not active, and one whose
        tenant is suspended.
        """
        if isinstance(shown, SecretShown):
            client = await self._active(shown.client_id)
            if not client.metadata.has_secrets or not await self._holds(client, shown.secret):
                raise Unauthenticated("invalid_client")
            return client
        if isinstance(shown, CertificateShown):
            client = await self._active(shown.client_id)
            if not self._certificates.belongs(shown.certificate, client.metadata):
                raise Unauthenticated("invalid_client")
            return client
        named = self._assertions.named(shown.assertion)
        client = await self._active(named)
        if client.metadata.auth_method != "private_key_jwt" or shown.client_id not in (None, named):
            raise Unauthenticated("invalid_client")
        await self._assertions.accept(shown.assertion, client, audiences)
        return client

    async def _active(self, client_id_text: str) -> c.OAuthClient:
        client_id = parse("cli", client_id_text)
        tenant_id = None if client_id is None else await self._directory.tenant_of(client_id)
        if client_id is None or tenant_id is None:
            raise Unauthenticated("invalid_client")
        client = await self._streams.state(tenant_id, client_id, client_stream)
        if client is None or client.status != "active":
            raise Unauthenticated("invalid_client")
        try:
            await check_served(self._streams, tenant_id)
        except Forbidden as suspended:
            raise Unauthenticated("invalid_client") from suspended
        return client

    async def _holds(self, client: c.OAuthClient, secret: str) -> bool:
        """Whether it is one of the client's live secrets."""
        for number in client.secrets:
            digest = await self._secrets.digest_of(client.tenant_id, client.id, number)
            if digest is not None and self._digests.matches(SECRET_PURPOSE, secret, digest):
                return True
        return False


def grant(client: c.OAuthClient, scope: str | None) -> Grant:
    """What the client asks for of what it has; all of it when it names nothing.

    Raises Invalid (`invalid_scope`).
    """
    asked = frozenset(scope.split()) if scope is not None else client.scopes
    if not asked or not asked <= client.scopes:
        raise Invalid("invalid_scope", "a scope that this client does not have")
    return Grant(tenant_id=client.tenant_id, client_id=client.id, scopes=tuple(sorted(asked)))
