"""Advice: a product is told what was allowed in its place while it was silent (broker.md §3.7).

Owed from the commit of the decision on, under the key of the transaction. The log has no context,
and without it nobody could book the sale: it is kept from before the decision, sealed under the
person's key, until the product has acknowledged. An allow that nobody saw is not advised: it is
void, and an advice that was on its way meets the void at the product, in whichever order.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

from application.ports import (
    AdviceContexts,
    AssertionSigner,
    Attempted,
    Clock,
    Dead,
    Delivered,
    Delivery,
    DeliveryPolicy,
    EventLog,
    IdSource,
    NoticeFailed,
    Owed,
    ProductAdvices,
    RetryLater,
    Settlement,
)
from application.transactions.notice import NoticeBody, NoticeLog, NoticeWriter
from domain import transaction as x
from domain.events import Recorded

ACTION: Final = "advice"
ACTOR: Final = "system:advice"
_REASONS: Final[dict[str, Literal["no_advice_path", "voided", "context_gone"]]] = {
    "no_advice_path": "no_advice_path",
    "voided": "voided",
    "context_gone": "context_gone",
}
"""What ends an advice at once; whatever else ends it, it was tried for as long as it may be."""


class _Body(NoticeBody, frozen=True, kw_only=True):
    """`reason` says why nobody was asked or heard, `drill` that an outage was rehearsed: the
    person was let through all the same."""

    advised_action: str
    reason: x.StandInReason
    drill: bool
    decided_at: datetime


class Advice:
    """`application.ports.DeliveryKind`: one lane per transaction, one destination per service."""

    def __init__(
        self,
        log: EventLog,
        products: ProductAdvices,
        contexts: AdviceContexts,
        signer: AssertionSigner,
        issuer: str,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = NoticeLog(log, ACTOR)
        self._products = products
        self._contexts = contexts
        self._writer = NoticeWriter(signer, issuer, clock, ids)
        self._clock = clock

    @property
    def name(self) -> str:
        return "advice"

    @property
    def listens_to(self) -> tuple[type[x.TransactionEvent], ...]:
        return (x.TransactionFailedOpen,)

    @property
    def policy(self) -> DeliveryPolicy:
        """Nobody waits for it; it must arrive in the end."""
        return DeliveryPolicy(
            deadline_s=10.0, delays_s=(1.0, 5.0, 30.0, 120.0, 600.0, 3600.0), wakes=True
        )

    async def owed(self, events: Sequence[Recorded]) -> Sequence[Owed]:
        owed: list[Owed] = []
        for each in events:
            if not isinstance(each.event, x.TransactionFailedOpen) or not each.event.advice_needed:
                continue
            told = await self._log.find(each.tenant_id, each.stream_id)
            assert told.transaction.intent is not None, "a stand-in follows an intent"
            service = told.transaction.intent.service_id
            owed.append(Owed(event=each, destination=service, lane=each.stream_id))
        return owed

    async def attempt(self, delivery: Delivery) -> Attempted:
        told = await self._log.find(delivery.tenant_id, delivery.event.stream_id)
        transaction = told.transaction
        intent, decision = transaction.intent, transaction.decision
        if transaction.advice == "settled" or not isinstance(decision, x.TransactionFailedOpen):
            return Delivered()
        assert intent is not None, "a stand-in follows an intent"
        assert transaction.identified is not None, "a stand-in follows an identification"
        if transaction.void != "none":
            return Dead("voided")
        if intent.advice_path is None:
            return Dead("no_advice_path")
        person = transaction.identified.user_id
        context = await self._contexts.read(transaction.tenant_id, person, transaction.id)
        if context is None:
            return Dead("context_gone")
        said = _Body(
            **self._writer.members(transaction, ACTION, context, delivery.attempt),
            advised_action=intent.action,
            reason=decision.reason,
            drill=decision.drill,
            decided_at=decision.decided_at,
        )
        call = self._writer.call(told, intent, intent.advice_path, said)
        try:
            status = await self._products.advise(call)
        except NoticeFailed as failed:
            return RetryLater(failed.reason, failed.status, failed.after_s)
        # Here, and not when it is settled: only here is it known what the product said.
        advised = x.TransactionAdvised(
            status=status, attempt=delivery.attempt, advised_at=self._clock.now()
        )
        await self._log.record(delivery, told.trace_id, advised, x.settle_advice)
        return Delivered(200)

    async def settled(self, delivery: Delivery, settlement: Settlement) -> None:
        """Record an end without an acknowledgement; forget the context where none can follow."""
        told = await self._log.find(delivery.tenant_id, delivery.event.stream_id)
        if isinstance(settlement, Dead):
            failed = x.TransactionAdviceFailed(
                reason=_REASONS.get(settlement.reason, "exhausted"),
                attempt=delivery.attempt,
                failed_at=self._clock.now(),
            )
            await self._log.record(delivery, told.trace_id, failed, x.settle_advice)
            if settlement.reason != "voided":
                return  # it may be replayed
        transaction = told.transaction
        assert transaction.identified is not None, "a stand-in follows an identification"
        await self._contexts.forget(
            transaction.tenant_id, transaction.identified.user_id, transaction.id
        )
