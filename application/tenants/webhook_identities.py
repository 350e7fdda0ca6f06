"""The certificate of the tenant's own CA for its webhooks: ask for a request, bring what the CA
made of it, be told before it runs out (reference broker.md §3.9)."""

from contextlib import suppress
from datetime import datetime
from typing import Final

from application.execute import Done, execute
from application.ports import Clock, EventLog, IdSource, StaleStream
from application.ports.webhooks import ClientCertificateReader, ExpiringCertificates, WebhookKeys
from application.principals import Caller
from domain import webhook_identity as w
from domain.errors import NotFound
from domain.events import Origin, StreamAppend
from domain.ids import TenantId, webhook_identity_id

ACTOR: Final = "system:webhooks"
PER_ROUND: Final = 1000


class WebhookIdentities:
    def __init__(
        self,
        log: EventLog,
        keys: WebhookKeys,
        reader: ClientCertificateReader,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._keys = keys
        self._reader = reader
        self._clock = clock
        self._ids = ids

    async def get(self, tenant_id: TenantId) -> w.WebhookIdentity | None:
        """None for a tenant that never asked for a request."""
        return w.rebuild(await self._log.load(tenant_id, webhook_identity_id(tenant_id)))

    async def open_request(self, tenant_id: TenantId) -> w.OpenRequest:
        """Raises NotFound (`webhook_csr_not_found`)."""
        identity = await self.get(tenant_id)
        if identity is None or identity.request is None:
            raise NotFound("webhook_csr_not_found")
        return identity.request

    async def make_csr(self, caller: Caller, *, replace: bool) -> tuple[w.OpenRequest, Done | None]:
        """The open request; a new one, over a new key, where there is none or it is replaced."""
        identity = await self.get(caller.tenant_id)
        if identity is not None and identity.request is not None and not replace:
            return identity.request, None
        # Kept before it is asked for, so that there is never a certificate without a key.
        made = await self._keys.make(caller.tenant_id)
        done = await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            caller.tenant_id,
            webhook_identity_id(caller.tenant_id),
            w.rebuild,
            lambda identity: w.request(identity, made, replace=replace),
        )
        await self._forget_keys(caller.tenant_id)
        return await self.open_request(caller.tenant_id), done

    async def install(
        self, caller: Caller, pem: str, active_from: datetime | None
    ) -> tuple[w.WebhookIdentity, Done]:
        """Take the certificate into use, at once or later; the one before serves until then.

        Raises Malformed (`certificate_invalid`), Conflict (`webhook_csr_missing`), Invalid
        (`certificate_unsuitable`, `certificate_key_mismatch`, `active_from_invalid`).
        """
        now = self._clock.now()
        brought = self._reader.read(pem, now)
        done = await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            caller.tenant_id,
            webhook_identity_id(caller.tenant_id),
            w.rebuild,
            lambda identity: w.install(identity, brought, active_from=active_from, now=now),
        )
        await self._forget_keys(caller.tenant_id)
        identity = await self.get(caller.tenant_id)
        assert identity is not None, "a certificate stands in its stream"
        return identity, done

    async def _forget_keys(self, tenant_id: TenantId) -> None:
        identity = await self.get(tenant_id)
        assert identity is not None, "a key was asked for"
        await self._keys.keep_only(tenant_id, identity.keys())


class CertificateWarnings:
    """`round` is meant for `infrastructure/rounds.py`; done twice at once, it tells once."""

    def __init__(
        self, log: EventLog, expiring: ExpiringCertificates, clock: Clock, ids: IdSource
    ) -> None:
        self._log = log
        self._expiring = expiring
        self._clock = clock
        self._ids = ids

    async def round(self) -> int:
        """How many certificates were looked at. Raises CommitFailed and what the port raises."""
        now = self._clock.now()
        due = await self._expiring.due(now, PER_ROUND)
        for tenant_id in due:
            stream = webhook_identity_id(tenant_id)
            identity = w.rebuild(await self._log.load(tenant_id, stream))
            events = w.warn(identity, now)
            if identity is not None and events:
                fresh = self._ids.uuid()
                append = StreamAppend(
                    tenant_id=tenant_id,
                    stream_id=stream,
                    expected_version=identity.version,
                    events=events,
                )
                with suppress(StaleStream):  # somebody else has told it, or it was replaced
                    origin = Origin(actor=ACTOR, correlation_id=fresh, command_id=fresh)
                    await self._log.append(origin, [append])
        return len(due)
