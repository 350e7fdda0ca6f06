"""Undecided transactions of all tenants, as the read model `transactions` knows them."""

from collections.abc import Sequence
from datetime import datetime

from application.ports import Undecided
from infrastructure.database import Pool
from projections import transactions


class ReadModelUndecided:
    """`application.ports.UndecidedTransactions`; `projector` is a pool that sees all tenants."""

    def __init__(self, projector: Pool) -> None:
        self._projector = projector

    async def overdue(self, before: datetime, limit: int) -> Sequence[Undecided]:
        async with self._projector.connection() as connection:
            found = await transactions.overdue(connection, before, limit)
        return [Undecided(tenant_id, transaction_id) for tenant_id, transaction_id in found]
