"""What a product is told after the fact, in the words and under the proof of an authorize call."""

from typing import Any, Final

import msgspec

from application.ports import AssertionSigner, Clock, IdSource, NoticeCall
from application.transactions.authorization import ASSERTION_MAX_S, audience, digest
from domain import transaction as x
from domain.errors import Conflict
from domain.ids import TransactionId, wire

DEADLINE_S: Final = 5.0


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
        transaction: x.Transaction,
        intent: x.TransactionAuthorizationRequested,
        path: str,
        said: NoticeBody,
    ) -> NoticeCall:
        """One try, to the address that was asked, or would have been."""
        body = msgspec.json.encode(said)
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
        )
