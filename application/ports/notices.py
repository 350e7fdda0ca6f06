"""What a product is told after the fact, and what it says to that."""

from typing import Literal, Protocol
from uuid import UUID

import msgspec

from domain.ids import TenantId, TransactionId, UserId

NoticeStatus = Literal["voided", "already_voided", "not_found", "cannot_void"]
"""What a product says to a void."""
AdviceStatus = Literal["recorded", "already_recorded", "disputed", "voided"]
"""What a product says to an advice. `disputed`: it had said no; `voided`: it was undone before."""


class NoticeCall(msgspec.Struct, frozen=True, kw_only=True):
    """One try at telling a product (reference broker.md §3.7). `trace_id` is the trace in which
    it was asked, so that its own log shows both together."""

    url: str
    bearer: str
    body: bytes
    idempotency_key: str
    deadline_s: float
    trace_id: UUID | None = None


class NoticeFailed(Exception):
    """Nothing that counts as an acknowledgement. `reason` is a short code of ours."""

    def __init__(
        self, reason: str, *, status: int | None = None, after_s: float | None = None
    ) -> None:
        self.reason = reason
        self.status = status
        self.after_s = after_s
        super().__init__(reason)


class ProductNotices(Protocol):
    async def send(self, call: NoticeCall) -> NoticeStatus:
        """Have it undo, once, within a total deadline. Raises NoticeFailed; never retries."""
        ...


class ProductAdvices(Protocol):
    async def advise(self, call: NoticeCall) -> AdviceStatus:
        """Tell it what was allowed in its place; as `ProductNotices.send`."""
        ...


class AdviceContexts(Protocol):
    """Contexts of requests, sealed, for as long as a product must still be told of them."""

    async def keep(
        self, tenant_id: TenantId, user_id: UserId, transaction_id: TransactionId, context: bytes
    ) -> bool:
        """Durable when it returns; False when the person is erased. Raises CommitFailed."""
        ...

    async def read(
        self, tenant_id: TenantId, user_id: UserId, transaction_id: TransactionId
    ) -> bytes | None:
        """As it was kept; None when it was forgotten, or the person erased."""
        ...

    async def forget(
        self, tenant_id: TenantId, user_id: UserId, transaction_id: TransactionId
    ) -> None: ...
