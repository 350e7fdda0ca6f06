"""What webhooks are signed with, and what they show themselves by."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.ids import TenantId, WebhookEndpointId
from domain.webhook_identity import Presented, WebhookCsrMade


class WebhookSecrets(Protocol):
    """Secrets of endpoints, `whsec_` and base64 (Standard Webhooks 1.0), outside the log."""

    async def first(self, tenant_id: TenantId, endpoint_id: WebhookEndpointId) -> str | None:
        """Make the endpoint's first secret; None when it has had one."""
        ...

    async def rotate(
        self, tenant_id: TenantId, endpoint_id: WebhookEndpointId, *, overlap_s: int
    ) -> str:
        """Make a new secret; the one before it signs too for `overlap_s`, older ones no more."""
        ...

    async def good(self, tenant_id: TenantId, endpoint_id: WebhookEndpointId) -> Sequence[bytes]:
        """The keys of the secrets that sign now, the newest first."""
        ...


class WebhookKeys(Protocol):
    """Keys whose certificates a tenant's own CA signs, outside the log. Raises psycopg.Error."""

    async def make(self, tenant_id: TenantId) -> WebhookCsrMade:
        """Make a key, keep it, and write the request for it."""
        ...

    async def keep_only(self, tenant_id: TenantId, key_ids: Collection[UUID]) -> None:
        """Destroy the tenant's other keys, but for those of the last hour: somebody may be
        about to ask for a certificate of one."""
        ...


class ClientCertificateReader(Protocol):
    def read(self, pem: str, now: datetime) -> Presented:
        """A certificate with its chain, held against what can be held against it alone.

        Raises Malformed (`certificate_invalid`), Invalid (`certificate_unsuitable`).
        """
        ...


class ExpiringCertificates(Protocol):
    async def due(self, now: datetime, limit: int) -> Sequence[TenantId]:
        """Tenants whose newest certificate may have to be warned of. Raises psycopg.Error."""
        ...
