"""What a product is told after the fact, and what it says to that."""

from typing import Literal, Protocol

import msgspec

NoticeStatus = Literal["voided", "already_voided", "not_found", "cannot_void"]


class NoticeCall(msgspec.Struct, frozen=True, kw_only=True):
    """One try at telling a product (reference broker.md §3.7)."""

    url: str
    bearer: str
    body: bytes
    idempotency_key: str
    deadline_s: float


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
        """Tell once, within a total deadline. Raises NoticeFailed; never retries."""
        ...
