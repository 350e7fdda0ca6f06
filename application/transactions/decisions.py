"""Asks the product and commits the decision: the second half of every attempt.

Every step raises StaleStream when somebody else moved the transaction meanwhile: whoever runs
it is fenced off then, and nothing it found out may reach the device.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

from application.execute import retrying
from application.ports import (
    AdviceContexts,
    Authorized,
    AuthorizeFailed,
    Clock,
    EventLog,
    IdSource,
    ProductTexts,
    StaleStream,
)
from application.transactions import outcomes
from application.transactions.asked import Asked
from application.transactions.authorization import Authorization, Question, digest
from application.transactions.outcomes import Moment
from application.transactions.stand_in import StandIns
from domain import linked_service as ls
from domain import transaction as x
from domain.erasure import erasure_id
from domain.events import DomainEvent, Sealed, StreamAppend
from domain.ids import UserId

RELAY_RESERVE_S: Final = 0.1


class Decisions:
    def __init__(
        self,
        log: EventLog,
        authorization: Authorization,
        stand_ins: StandIns,
        contexts: AdviceContexts,
        texts: ProductTexts,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._authorization = authorization
        self._stand_ins = stand_ins
        self._contexts = contexts
        self._texts = texts
        self._clock = clock
        self._ids = ids

    async def ask(
        self,
        asked: Asked,
        transaction: x.Transaction,
        identified: x.TransactionIdentified,
        intent: x.TransactionAuthorizationRequested,
        service: ls.LinkedService,
    ) -> x.Transaction:
        """Ask the product, whose intent is durable, and commit what it says."""
        question = Question(
            tenant_id=asked.tenant.id,
            device_id=asked.device.device_id,
            transaction_id=asked.id,
            identified=identified,
            intent=intent,
            service=service,
            context=asked.context,
            context_hash=digest(asked.context),
            trace_id=asked.device.correlation_id,
            simulated=asked.simulated,
        )
        began = self._clock.monotonic()
        remaining = asked.remaining_s(self._clock.monotonic()) - RELAY_RESERVE_S
        decision: x.Decision
        try:
            said = await self._authorization.ask(question, self._clock.now(), remaining)
        except AuthorizeFailed as failed:
            authorize_ms = self._ms_since(began)
            stand_in, may_open = None, _may_stand_in(intent, failed, remaining)
            shadow = await self._stand_ins.shadow(
                service,
                failed.failure,
                identified.user_id,
                asked.request.context,
                may_open=may_open,
            )
            if may_open:
                stand_in = await self._stand_ins.decide(
                    service, failed.failure, identified.user_id, asked.request.context
                )
            if stand_in not in (None, "stand_in_limit") and intent.advice_path is not None:
                # Before the decision, so that there is never one of which nobody can be told.
                kept = await self._contexts.keep(
                    asked.tenant.id, identified.user_id, asked.id, asked.context
                )
                stand_in = stand_in if kept else None
            decision = outcomes.unanswered(
                failed, intent, stand_in, shadow, authorize_ms, self.moment(asked)
            )
        else:
            authorize_ms = self._ms_since(began)
            return await self._answered(asked, transaction, identified, said, authorize_ms)
        return await self.decide(asked, transaction, [], decision)

    async def _answered(
        self,
        asked: Asked,
        transaction: x.Transaction,
        identified: x.TransactionIdentified,
        said: Authorized,
        authorize_ms: float,
    ) -> x.Transaction:
        """Commit the product's word. A late yes to what was decided otherwise must be undone."""
        text, sealed, commitment = said.text, None, None
        if text is not None:
            sealed = await self._texts.seal(asked.tenant.id, identified.user_id, asked.id, text)
            commitment = sealed.commitment
        decision = outcomes.answered(said, commitment, authorize_ms, self.moment(asked))
        worded = msgspec.structs.replace(transaction, text=text)
        try:
            return await self.decide(asked, worded, [], decision, sealed)
        except StaleStream:
            if said.decision == "allow":
                # Whoever notes something of the transaction meanwhile must not keep it charged.
                await retrying(lambda: self._undo_late_allow(asked))
            raise

    async def _undo_late_allow(self, asked: Asked) -> None:
        past = x.rebuild(await self._log.load(asked.tenant.id, asked.id))
        if past is None or past.decision is None:
            return  # whoever took over asks again, and stands for what the product says then
        if isinstance(past.decision, x.TransactionAllowed):
            return
        events = x.request_void(past, "late_allow", self._clock.now())
        if events:
            await self.append(asked, past.version, events)

    async def decide(
        self,
        asked: Asked,
        transaction: x.Transaction,
        before: Sequence[DomainEvent],
        decision: x.Decision,
        sealed: Sealed | None = None,
    ) -> x.Transaction:
        """Commit the decision, with the text that goes with it, and only then return it."""
        events: list[DomainEvent] = [*before, *x.decide(transaction, decision)]
        await self.append(asked, transaction.version, events, sealed)
        return msgspec.structs.replace(
            transaction, decision=decision, version=transaction.version + len(events)
        )

    async def append(
        self,
        asked: Asked,
        expected_version: int,
        events: Sequence[DomainEvent],
        sealed: Sealed | None = None,
        unless_begun: UUID | None = None,
    ) -> None:
        append = StreamAppend(
            tenant_id=asked.tenant.id,
            stream_id=asked.id,
            expected_version=expected_version,
            events=events,
            sealed=sealed,
            unless_begun=unless_begun,
        )
        await self._log.append(asked.device.origin(self._ids.uuid()), [append])

    async def intend(
        self,
        asked: Asked,
        expected_version: int,
        events: Sequence[DomainEvent],
        person: UserId,
    ) -> bool:
        """Commit an intent, unless the person is to be erased by then; whether it is there.

        The person may have been read from memory, and the erasure be of a moment ago.
        """
        erasure = erasure_id(person)
        try:
            await self.append(asked, expected_version, events, unless_begun=erasure)
        except StaleStream as stale:
            if erasure not in stale.streams:
                raise
            return False
        return True

    def moment(self, asked: Asked) -> Moment:
        return Moment(decided_at=self._clock.now(), total_ms=self._ms_since(asked.started))

    def _ms_since(self, began: float) -> float:
        return round((self._clock.monotonic() - began) * 1000, 2)


def _may_stand_in(
    intent: x.TransactionAuthorizationRequested, failed: AuthorizeFailed, remaining_s: float
) -> bool:
    """Whether the product's silence is its own.

    An attempt that died may have heard a refusal, and a refusal never becomes an allow; nor may
    a device open a lane by leaving the product less time than it was promised.
    """
    if intent.epoch > 1:
        return False
    return failed.failure != "authorize_timeout" or remaining_s * 1000 >= intent.timeout_ms
