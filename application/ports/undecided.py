"""Where to look for transactions that somebody began and nobody decided."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from domain.ids import TenantId, TransactionId


class Undecided(msgspec.Struct, frozen=True):
    """A transaction that has an intent and, as far as was known, no decision."""

    tenant_id: TenantId
    transaction_id: TransactionId


class UndecidedTransactions(Protocol):
    """A hint: it may be behind the log, and is never taken for the truth."""

    async def overdue(self, before: datetime, limit: int) -> Sequence[Undecided]:
        """Those of all tenants whose lease ran out before then, the oldest first."""
        ...
