"""What webhooks are signed with."""

from collections.abc import Sequence
from typing import Protocol

from domain.ids import TenantId, WebhookEndpointId


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
