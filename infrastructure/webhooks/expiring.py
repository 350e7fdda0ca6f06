"""Whose client certificate runs out, as the read model `webhook_identities` knows it."""

from collections.abc import Sequence
from datetime import datetime

from domain.ids import TenantId
from infrastructure.database import Pool
from projections import webhook_identities


class ReadModelExpiringCertificates:
    """`application.ports.webhooks.ExpiringCertificates`; `projector` sees all tenants."""

    def __init__(self, projector: Pool) -> None:
        self._projector = projector

    async def due(self, now: datetime, limit: int) -> Sequence[TenantId]:
        async with self._projector.connection() as connection:
            return await webhook_identities.due(connection, now, limit)
