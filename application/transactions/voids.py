"""Voids: what a product may have allowed and nobody saw is undone there (broker.md §3.7).

A void is owed from the commit of the decision (or of the device's journal) on. It goes to the
address that was asked, under the key that was asked with, until the product acknowledges; a
product that never saw the key keeps a tombstone and refuses a question that arrives later.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from application.ports import (
    AssertionSigner,
    Attempted,
    Clock,
    Dead,
    Delivered,
    Delivery,
    DeliveryPolicy,
    EventLog,
    IdSource,
    NoticeCall,
    NoticeFailed,
    Owed,
    ProductNotices,
    ProductTexts,
    RetryLater,
    Settlement,
)
from application.transactions.notice import NoticeBody, NoticeLog, NoticeWriter, Told
from application.transactions.product_texts import worded
from domain import transaction as x
from domain.errors import Conflict
from domain.events import Recorded

ACTION: Final = "void"
ACTOR: Final = "system:voids"
_NO_CONTEXT: Final = b"{}"
_REASONS: Final[dict[str, Literal["no_void_path", "cannot_void"]]] = {
    "no_void_path": "no_void_path",
    "cannot_void": "cannot_void",
}
"""What ends a void at once; whatever else ends it, it was tried for as long as it may be."""


class _Body(NoticeBody, frozen=True, kw_only=True):
    reason: x.VoidReason
    voided_action: str
    original_reference_id: str | None


class Voids:
    """`application.ports.DeliveryKind`: one lane per transaction, one destination per service."""

    def __init__(
        self,
        log: EventLog,
        notices: ProductNotices,
        texts: ProductTexts,
        signer: AssertionSigner,
        issuer: str,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = NoticeLog(log, ACTOR)
        self._notices = notices
        self._texts = texts
        self._writer = NoticeWriter(signer, issuer, clock, ids)
        self._clock = clock

    @property
    def name(self) -> str:
        return "void"

    @property
    def listens_to(self) -> tuple[type[x.TransactionEvent], ...]:
        return (x.TransactionFailedClosed, x.TransactionRefused, x.TransactionVoidRequested)

    @property
    def policy(self) -> DeliveryPolicy:
        """Whatever is in doubt is settled a minute after a product is back, however long it was
        away and whatever it asked for meanwhile: the longest wait is 48 s, and the first void that
        arrives has all others tried at once."""
        return DeliveryPolicy(
            deadline_s=10.0, delays_s=(1.0, 5.0, 15.0, 40.0), retry_after_max_s=45.0, wakes=True
        )

    async def owed(self, events: Sequence[Recorded]) -> Sequence[Owed]:
        owed: list[Owed] = []
        for each in events:
            match each.event:
                case x.TransactionVoidRequested():
                    pass
                case x.TransactionFailedClosed() | x.TransactionRefused() as decision if (
                    decision.void_needed
                ):
                    pass
                case _:
                    continue
            told = await self._log.find(each.tenant_id, each.stream_id)
            assert told.transaction.intent is not None, "who was never asked is owed nothing"
            service = told.transaction.intent.service_id
            owed.append(Owed(event=each, destination=service, lane=each.stream_id))
        return owed

    async def attempt(self, delivery: Delivery) -> Attempted:
        told = await self._log.find(delivery.tenant_id, delivery.event.stream_id)
        transaction = told.transaction
        if transaction.void not in ("owed", "failed"):
            return Delivered()
        intent = transaction.intent
        assert intent is not None, "who was never asked is owed nothing"
        if intent.void_path is None:
            return Dead("no_void_path")
        try:
            whole = await worded(self._texts, transaction)
            asked = self._call(delivery, msgspec.structs.replace(told, transaction=whole), intent)
            status = await self._notices.send(asked)
        except NoticeFailed as failed:
            return RetryLater(failed.reason, failed.status, failed.after_s)
        if status == "cannot_void":
            return Dead("cannot_void", 200)
        # Here, and not when it is settled: only here is it known what the product said.
        voided = x.TransactionVoided(
            status=status, attempt=delivery.attempt, voided_at=self._clock.now()
        )
        await self._log.record(delivery, told.trace_id, voided, x.settle_void)
        return Delivered(200)

    async def settled(self, delivery: Delivery, settlement: Settlement) -> None:
        if isinstance(settlement, Delivered):
            return
        failed = x.TransactionVoidFailed(
            reason=_REASONS.get(settlement.reason, "exhausted"),
            attempt=delivery.attempt,
            failed_at=self._clock.now(),
        )
        told = await self._log.find(delivery.tenant_id, delivery.event.stream_id)
        await self._log.record(delivery, told.trace_id, failed, x.settle_void)

    def _call(
        self,
        delivery: Delivery,
        told: Told,
        intent: x.TransactionAuthorizationRequested,
    ) -> NoticeCall:
        transaction = told.transaction
        if intent.void_path is None:
            raise Conflict("transaction_undecided")
        allowed = isinstance(transaction.decision, x.TransactionAllowed)
        text = x.text_of(transaction) if allowed else None
        said = _Body(
            **self._writer.members(transaction, ACTION, _NO_CONTEXT, delivery.attempt),
            reason=x.void_reason(transaction),
            voided_action=intent.action,
            original_reference_id=None if text is None else text.reference_id,
        )
        return self._writer.call(told, intent, intent.void_path, said)
