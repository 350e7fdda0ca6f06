"""What a product is told after the fact, in the words and under the proof of an authorize call."""

from collections.abc import Callable
from typing import Any, Final, TypeVar
from uuid import UUID, uuid5

import msgspec

from application.execute import execute
from application.ports import AssertionSigner, Clock, Delivery, EventLog, IdSource, NoticeCall
from application.transactions.authorization import ASSERTION_MAX_S, audience, digest
from domain import transaction as x
from domain.errors import Conflict
from domain.events import Origin
from domain.ids import TenantId, TransactionId, wire

DEADLINE_S: Final = 5.0

_Asked = x.TransactionAuthorizationRequested


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction that a notice is about, and the trace in which its product was asked."""

    transaction: x.Transaction
    trace_id: UUID


_Settled = TypeVar("_Settled", bound=x.TransactionEvent)


class NoticeBody(msgspec.Struct, frozen=True, kw_only=True):
    """The members of an authorize call, so that a product checks both in one way; `action` says
    which it is, here and in the assertion."""

    user_id: str
    tenant_id: str
    device_id: str
    transaction_id: str
    action: str
    context: msgspec.Raw
    idempotency_key: str
    attempt: int


class NoticeLog:
    """The transactions that notices are about, and how each notice ended, in `actor`'s name."""

    def __init__(self, log: EventLog, actor: str) -> None:
        self._log = log
        self._actor = actor

    async def find(self, tenant_id: TenantId, stream_id: UUID) -> Told:
        """As it is now; the caller has an event of its stream."""
        past = await self._log.load(tenant_id, stream_id)
        transaction = x.rebuild(past)
        assert transaction is not None, "an event stands in its stream"
        asked = [each for each in past if isinstance(each.event, _Asked)]
        return Told(transaction=transaction, trace_id=(asked or past)[-1].correlation_id)

    async def record(
        self,
        delivery: Delivery,
        trace_id: UUID,
        event: _Settled,
        settle: Callable[[x.Transaction, _Settled], list[x.TransactionEvent]],
    ) -> None:
        """Once for each try and each kind of end, however often it is said."""
        said = f"{event.NAME}:{delivery.attempt}"
        origin = Origin(
            actor=self._actor, correlation_id=trace_id, command_id=uuid5(delivery.id, said)
        )

        def decide(transaction: x.Transaction | None) -> list[x.TransactionEvent]:
            assert transaction is not None, "a delivery is about an event of its stream"
            return settle(transaction, event)

        await execute(
            self._log, origin, delivery.tenant_id, delivery.event.stream_id, x.rebuild, decide
        )


class NoticeWriter:
    """Writes the calls and signs them anew for every try: the key stays, the `jti` is fresh."""

    def __init__(self, signer: AssertionSigner, issuer: str, clock: Clock, ids: IdSource) -> None:
        self._signer = signer
        self._issuer = issuer
        self._clock = clock
        self._ids = ids

    def members(
        self, transaction: x.Transaction, action: str, context: bytes, attempt: int
    ) -> dict[str, Any]:
        """Of a `NoticeBody`. Raises Conflict (`transaction_undecided`)."""
        identified, intent = transaction.identified, transaction.intent
        if identified is None or intent is None or transaction.decision is None:
            raise Conflict("transaction_undecided")
        return {
            "user_id": wire("usr", identified.user_id),
            "tenant_id": wire("ten", transaction.tenant_id),
            "device_id": wire("dev", transaction.received.device_id),
            "transaction_id": wire("txn", TransactionId(transaction.id)),
            "action": action,
            "context": msgspec.Raw(context),
            "idempotency_key": intent.product_idempotency_key,
            "attempt": attempt,
        }

    def call(
        self,
        told: Told,
        intent: x.TransactionAuthorizationRequested,
        path: str,
        said: NoticeBody,
    ) -> NoticeCall:
        """One try, to the address that was asked, or would have been."""
        transaction, body = told.transaction, msgspec.json.encode(said)
        issued_at = int(self._clock.now().timestamp())
        simulated = {"simulated": True} if transaction.received.simulated else {}
        bearer = self._signer.sign(
            {
                **simulated,
                "aud": [
                    intent.product_key,
                    audience(self._issuer, transaction.tenant_id, intent.service_id),
                ],
                "sub": said.user_id,
                "tenant_id": said.tenant_id,
                "device_id": said.device_id,
                "txn": said.transaction_id,
                "action": said.action,
                "context_hash": digest(bytes(said.context)),
                "body_sha256": digest(body),
                "idempotency_key": said.idempotency_key,
                "iat": issued_at,
                "nbf": issued_at,
                "exp": issued_at + ASSERTION_MAX_S,
                "jti": self._ids.uuid().hex,
            }
        )
        return NoticeCall(
            url=intent.base_url.rstrip("/") + path,
            bearer=bearer,
            body=body,
            idempotency_key=said.idempotency_key,
            deadline_s=DEADLINE_S,
            trace_id=told.trace_id,
        )
