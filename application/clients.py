"""OAuth clients: registration, and proof of a secret (003 §3.7; RFC 6749 §4.4)."""

from collections.abc import Set
from typing import Final

import msgspec

from application.execute import execute
from application.permissions import SCOPES
from application.ports import Digests, EventLog, IdSource, Secrets, Streams
from application.principals import Caller
from domain import oauth_client as c
from domain.errors import Invalid, Unauthenticated
from domain.ids import OAuthClientId, TenantId, parse

ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
SYMBOLS: Final = 43
"""256 bits: too many to guess, so a keyed digest without a slow hash is enough."""

_PURPOSE: Final = "client_secret"


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """The only time that the secret is seen."""

    client_id: OAuthClientId
    secret: str


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What an access token may be issued for."""

    tenant_id: TenantId
    client_id: OAuthClientId
    scopes: tuple[str, ...]


class Clients:
    def __init__(
        self, log: EventLog, streams: Streams, secrets: Secrets, digests: Digests, ids: IdSource
    ) -> None:
        self._log = log
        self._streams = streams
        self._secrets = secrets
        self._digests = digests
        self._ids = ids

    async def register(self, caller: Caller, name: str, scopes: Set[str]) -> Registered:
        client_id = OAuthClientId(self._ids.uuid())
        secret = self._ids.code(ALPHABET, SYMBOLS)
        digest = self._digests.digest(_PURPOSE, secret)
        c.register(None, name=name, scopes=scopes, known_scopes=SCOPES.keys())
        await self._secrets.store(caller.tenant_id, client_id, digest)
        await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            caller.tenant_id,
            client_id,
            c.rebuild,
            lambda client: c.register(client, name=name, scopes=scopes, known_scopes=SCOPES.keys()),
        )
        return Registered(client_id=client_id, secret=secret)

    async def grant(self, client_id_text: str, secret: str, scope: str | None) -> Grant:
        """Check a client's secret and settle its scopes.

        Raises Unauthenticated (`invalid_client`) alike for an unknown client, a wrong secret and
        a disabled client, and Invalid (`invalid_scope`) for a scope that it does not have.
        """
        client_uuid = parse("cli", client_id_text)
        digest = self._digests.digest(_PURPOSE, secret)
        client_id = OAuthClientId(client_uuid or self._ids.uuid())
        tenant_id = await self._secrets.verify(client_id, digest)
        if tenant_id is None:
            raise Unauthenticated("invalid_client")
        client = await self._streams.state(tenant_id, client_id, c.rebuild)
        if client is None or client.status != "active":
            raise Unauthenticated("invalid_client")
        asked = frozenset(scope.split()) if scope is not None else client.scopes
        if not asked or not asked <= client.scopes:
            raise Invalid("invalid_scope", "a scope that this client does not have")
        return Grant(tenant_id=tenant_id, client_id=client_id, scopes=tuple(sorted(asked)))
