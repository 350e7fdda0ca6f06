"""OAuth client commands: register, change, suspend, resume, delete, and rotate secrets.

Nobody hands on more than they hold: whoever could give a client scopes of their own choice, or
get a secret of a client that has more, would have them all.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol
from uuid import UUID, uuid5

import msgspec

from application.execute import Done, execute, stream_of
from application.permissions import SCOPES, grantable
from application.ports import (
    ClientAssertions,
    ClientCertificates,
    Digests,
    EgressPolicy,
    EventLog,
    IdSource,
    Secrets,
)
from application.principals import Caller
from domain import oauth_client as c
from domain.errors import Conflict, Forbidden, NotFound, PreconditionFailed
from domain.ids import OAuthClientId, TenantId

ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
SYMBOLS: Final = 43
"""256 bits: too many to guess, so a keyed digest without a slow hash is enough."""

SECRET_PURPOSE: Final = "client_secret"  # noqa: S105 - what a digest is for, not a secret

CLIENTS_MAX: Final = 100
"""Of a tenant, suspended ones included."""

_rebuild: Final = stream_of(c.OAuthClientRegistered, c.rebuild)


class ClientCount(Protocol):
    async def count(self, tenant_id: TenantId) -> int:
        """How many clients the tenant has that are not deleted. Raises Unavailable."""
        ...


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """A client after a command; `secret` is seen here, where the command made one, and never
    again."""

    client: c.OAuthClient
    done: Done
    secret: str | None = None


class OAuthClients:
    def __init__(
        self,
        log: EventLog,
        secrets: Secrets,
        digests: Digests,
        assertions: ClientAssertions,
        certificates: ClientCertificates,
        egress: EgressPolicy,
        registered: ClientCount,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._secrets = secrets
        self._digests = digests
        self._assertions = assertions
        self._certificates = certificates
        self._egress = egress
        self._registered = registered
        self._ids = ids

    async def register(
        self, caller: Caller, metadata: c.ClientMetadata, key: str | None = None
    ) -> Changed:
        """A client, with its first secret where that is its method; a repeat shows none, also of
        a try that died between the two: then there is `add_secret`.

        Raises Invalid (`scope_unknown`, `client_name_invalid`, `client_keys_invalid`,
        `url_forbidden` and kin), Forbidden (`scope_not_held`), Conflict
        (`too_many_oauth_clients`). Requests of the same instant may pass that limit together.
        """
        command_id = caller.command("oauth_client.register", key, self._ids.uuid())
        client_id = OAuthClientId(
            uuid5(command_id, "oauth_client") if key is not None else self._ids.uuid()
        )
        await self._check(caller, metadata)
        metadata = self._kept(metadata)
        past = _rebuild(await self._log.load(caller.tenant_id, client_id))
        c.register(past, metadata, SCOPES.keys())
        if past is None:
            await self._check_number(caller)
        done = await execute(
            self._log,
            caller.origin(command_id),
            caller.tenant_id,
            client_id,
            _rebuild,
            lambda client: c.register(client, metadata, SCOPES.keys()),
        )
        secret: str | None = None
        if done.events and metadata.has_secrets:
            # By whoever registered it, so that a repeat of the same instant keeps none beside it.
            secret = await self._new_secret(caller.tenant_id, client_id, 1)
        client = await self.get(caller.tenant_id, client_id)
        return Changed(client=client, done=done, secret=secret)

    async def get(self, tenant_id: TenantId, client_id: UUID) -> c.OAuthClient:
        """Raises NotFound for another tenant's, an unknown and a deleted client alike."""
        return _present(_rebuild(await self._log.load(tenant_id, client_id)))

    async def change(
        self,
        caller: Caller,
        client_id: UUID,
        if_version: int | None,
        change: Callable[[c.ClientMetadata], c.ClientMetadata],
    ) -> Changed:
        """Raises PreconditionFailed when it is not at `if_version`, and what `register` raises."""
        before = await self.get(caller.tenant_id, client_id)
        await self._check(caller, change(before.metadata))

        def decide(client: c.OAuthClient) -> list[c.OAuthClientEvent]:
            return c.change(client, self._kept(change(client.metadata)), SCOPES.keys())

        return await self._execute(caller, client_id, if_version, decide)

    async def add_secret(self, caller: Caller, client_id: UUID) -> Changed:
        """Raises Conflict: `client_has_no_secrets`, `too_many_secrets`."""
        # Recorded first, so that of two that add at once each gets a number of its own.
        added = await self._execute(caller, client_id, None, c.add_secret)
        number = added.client.last_secret
        for event in added.done.events:
            if isinstance(event, c.OAuthClientSecretAdded):
                number = event.secret
        secret = await self._new_secret(caller.tenant_id, added.client.id, number)
        return msgspec.structs.replace(added, secret=secret)

    async def retire_secret(self, caller: Caller, client_id: UUID, number: int) -> Changed:
        """Raises NotFound (`client_secret_not_found`)."""
        retired = await self._execute(
            caller, client_id, None, lambda client: c.retire_secret(client, number)
        )
        # It proves nothing from the event on; what is left of it is only tidied away.
        await self._secrets.destroy(caller.tenant_id, retired.client.id, number)
        return retired

    async def suspend(self, caller: Caller, client_id: UUID) -> Changed:
        return await self._execute(caller, client_id, None, c.suspend)

    async def resume(self, caller: Caller, client_id: UUID) -> Changed:
        return await self._execute(caller, client_id, None, c.resume)

    async def delete(self, caller: Caller, client_id: UUID, if_version: int | None) -> Done:
        origin = caller.origin(self._ids.uuid())
        return await execute(
            self._log,
            origin,
            caller.tenant_id,
            client_id,
            _rebuild,
            lambda client: c.delete(_allowed(caller, client, if_version)),
        )

    async def _check(self, caller: Caller, metadata: c.ClientMetadata) -> None:
        c.check(metadata, SCOPES.keys())
        _covered(caller, metadata)
        self._assertions.check_keys(metadata.jwks)
        self._kept(metadata)
        if metadata.jwks_uri is not None:
            await self._egress.check(metadata.jwks_uri)

    def _kept(self, metadata: c.ClientMetadata) -> c.ClientMetadata:
        """As it goes into the log: certificates in a form that every listener can load."""
        certificates = self._certificates.check(metadata.tls_certificates)
        return msgspec.structs.replace(metadata, tls_certificates=certificates)

    async def _check_number(self, caller: Caller) -> None:
        """Whoever runs the platform is not bound, and needs no read model to begin with."""
        if type(caller) is Caller:
            return
        if await self._registered.count(caller.tenant_id) >= CLIENTS_MAX:
            raise Conflict("too_many_oauth_clients", f"there may be {CLIENTS_MAX}")

    async def _new_secret(self, tenant_id: TenantId, client_id: OAuthClientId, number: int) -> str:
        secret = self._ids.code(ALPHABET, SYMBOLS)
        digest = self._digests.digest(SECRET_PURPOSE, secret)
        await self._secrets.store(tenant_id, client_id, number, digest)
        return secret

    async def _execute(
        self,
        caller: Caller,
        client_id: UUID,
        if_version: int | None,
        decide: Callable[[c.OAuthClient], Sequence[c.OAuthClientEvent]],
    ) -> Changed:
        done = await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            caller.tenant_id,
            client_id,
            _rebuild,
            lambda client: decide(_allowed(caller, client, if_version)),
        )
        return Changed(client=await self.get(caller.tenant_id, client_id), done=done)


def _present(client: c.OAuthClient | None) -> c.OAuthClient:
    if client is None or client.status == "deleted":
        raise NotFound("oauth_client_not_found")
    return client


def _allowed(caller: Caller, client: c.OAuthClient | None, if_version: int | None) -> c.OAuthClient:
    found = _present(client)
    _covered(caller, found.metadata)
    if if_version is not None and found.version != if_version:
        raise PreconditionFailed("version_mismatch", "it was changed since; read it again")
    return found


def _covered(caller: Caller, metadata: c.ClientMetadata) -> None:
    """Raises Forbidden (`scope_not_held`) where the client has a scope that the caller has not."""
    missing = sorted(set(metadata.scopes) - grantable(caller))
    if missing:
        raise Forbidden("scope_not_held", f"you do not hold {', '.join(missing)}"[:300])
