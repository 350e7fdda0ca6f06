"""Transaction: one palm at one device, one question to one product, one decision for ever.


    (none) ─▶ received ─▶ identified ─▶ authorizing ─▶ decided ─▶ relayed
                  └──── no match, forbidden, refused ────▲

`received`, `identified` and the intent to authorize are one commit, made before a byte leaves
for the product; the decision is a second commit, made before the device hears of it
(reference broker.md §4). Once decided, the answer is a function of this stream and of the text
that was sealed in its commit, so a retry with the same key is answered byte for byte the same. A
vendor failure ends an attempt and not the transaction: no product was asked, so the same key may
try again for a minute.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from domain.errors import Conflict, Invalid
from domain.events import Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import TenantId, TransactionId
from domain.transaction.aftermath import (
    Shown,
    TransactionAcknowledged,
    TransactionAdviceFailed,
    TransactionAdvised,
    TransactionJournalConflict,
    TransactionVoided,
    TransactionVoidFailed,
    TransactionVoidRequested,
)
from domain.transaction.facts import (
    Decision,
    ProductText,
    ShadowVerdict,
    TransactionAllowed,
    TransactionAuthorizationRequested,
    TransactionDenied,
    TransactionEvent,
    TransactionFailedClosed,
    TransactionFailedOpen,
    TransactionForbidden,
    TransactionIdentified,
    TransactionNotRecognized,
    TransactionReceived,
    TransactionRefused,
    TransactionRelayed,
    TransactionVendorFailed,
)

VENDOR_RETRY: Final = timedelta(seconds=60)


Debt = Literal["none", "owed", "settled", "failed"]
"""What the product is owed and whether it got it; `failed` may still be settled by hand."""


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """Where it stands. `void` and `advice` are the product's due; `shown` is the device's word.

    `text` is what the product wrote, for whoever has it open: the stream has a commitment to it.
    """

    id: TransactionId
    tenant_id: TenantId
    version: int
    received: TransactionReceived
    identified: TransactionIdentified | None = None
    intent: TransactionAuthorizationRequested | None = None
    vendor_failed: TransactionVendorFailed | None = None
    decision: Decision | None = None
    relayed: bool = False
    void: Debt = "none"
    advice: Debt = "none"
    void_requested: TransactionVoidRequested | None = None
    shown: Shown | None = None
    contradicted: tuple[Shown, ...] = ()
    text: ProductText | None = None

    @property
    def status(self) -> Literal["received", "identified", "authorizing", "decided"]:
        if self.decision is not None:
            return "decided"
        if self.intent is not None:
            return "authorizing"
        return "identified" if self.identified is not None else "received"


class Fingerprint(msgspec.Struct, frozen=True):
    """Of all that an answer may depend on: as a commitment, and plain for what is older."""

    salted: str
    plain: str


def check_same_request(transaction: Transaction, fingerprint: Fingerprint) -> None:
    """Raises Invalid (`idempotency_key_reused`, 422) when the key was used for another request."""
    received = transaction.received
    salted = received.commitments == "tenant_salted"
    if received.fingerprint != (fingerprint.salted if salted else fingerprint.plain):
        raise key_reused()


def key_reused() -> Invalid:
    return Invalid("idempotency_key_reused", "this key was used for another request")


def key_expired() -> Conflict:
    return Conflict("idempotency_key_expired", "capture again and use a new key")


def never_decided(transaction: Transaction, now: datetime) -> bool:
    """Whether nothing can come of it any more: a vendor failed, no product was asked, and the
    minute in which the same key may be tried again is over."""
    failed = transaction.vendor_failed
    if failed is None or transaction.decision is not None or transaction.intent is not None:
        return False
    return now - failed.failed_at > VENDOR_RETRY


def attempt_of(transaction: Transaction | None, now: datetime) -> int:
    """The number of the attempt that may start now.

    Raises Conflict (`request_in_progress`) while another attempt owns the transaction, and when
    a failed vendor's minute is over: a new palm capture is a new transaction with a new key.
    """
    if transaction is None:
        return 1
    if never_decided(transaction, now):
        raise key_expired()
    failed = transaction.vendor_failed
    if transaction.decision is None and transaction.intent is None and failed is not None:
        return transaction.received.attempt + 1
    raise Conflict("request_in_progress")


def decide(transaction: Transaction, decision: Decision) -> list[TransactionEvent]:
    """One decision, never two; and nothing that a product must stand by or undo without the intent.

    The intent names the product, so allow, deny, a stand-in allow and a failure that needs a
    void come after it. A failure before anybody was asked needs none.
    """
    if transaction.decision is not None:
        raise Conflict("transaction_decided")
    match decision:
        case TransactionAllowed() | TransactionDenied() | TransactionFailedOpen():
            product_concerned = True
        case TransactionFailedClosed() | TransactionRefused():
            product_concerned = decision.void_needed
        case _:
            product_concerned = False
    if product_concerned and transaction.intent is None:
        raise Conflict("intent_missing")
    return [decision]


def sealed_text(transaction: Transaction) -> str | None:
    """The commitment to the product's text; None when it wrote none that was sealed."""
    decision = transaction.decision
    if isinstance(decision, TransactionAllowed | TransactionDenied):
        return decision.text_commitment
    return None


def text_of(transaction: Transaction) -> ProductText | None:
    """What the product wrote, where it is open or was recorded in clear."""
    decision = transaction.decision
    if isinstance(decision, TransactionAllowed | TransactionDenied):
        return decision.text_in_clear or transaction.text
    return None


def evolve(transaction: Transaction | None, recorded: Recorded) -> Transaction:
    replace = msgspec.structs.replace
    event = recorded.event
    if isinstance(event, TransactionReceived) and (
        transaction is None or transaction.vendor_failed is not None
    ):
        return Transaction(
            id=TransactionId(recorded.stream_id),
            tenant_id=recorded.tenant_id,
            version=recorded.version,
            received=event,
        )
    if transaction is None:
        raise UnexpectedEvent(event)
    match event:
        case TransactionIdentified():
            return replace(transaction, version=recorded.version, identified=event)
        case TransactionAuthorizationRequested():
            return replace(transaction, version=recorded.version, intent=event)
        case TransactionVendorFailed():
            return replace(transaction, version=recorded.version, vendor_failed=event)
        case (
            TransactionAllowed()
            | TransactionDenied()
            | TransactionNotRecognized()
            | TransactionForbidden()
            | TransactionRefused()
            | TransactionFailedClosed()
            | TransactionFailedOpen()
        ) if transaction.decision is None:
            return _decided(replace(transaction, version=recorded.version), event)
        case _ if transaction.decision is not None:
            return _followed(replace(transaction, version=recorded.version), recorded)
        case other:
            raise UnexpectedEvent(other)


def _decided(transaction: Transaction, event: Decision) -> Transaction:
    owes_void = isinstance(event, TransactionFailedClosed | TransactionRefused) and (
        event.void_needed
    )
    owes_advice = isinstance(event, TransactionFailedOpen) and event.advice_needed
    return msgspec.structs.replace(
        transaction,
        decision=event,
        void="owed" if owes_void else "none",
        advice="owed" if owes_advice else "none",
    )


def _followed(transaction: Transaction, recorded: Recorded) -> Transaction:
    """After one more fact of a transaction that is decided."""
    replace = msgspec.structs.replace
    match recorded.event:
        case TransactionRelayed():
            return replace(transaction, relayed=True)
        case TransactionVoidRequested() as event:
            return replace(transaction, void="owed", void_requested=event)
        case TransactionVoided():
            return replace(transaction, void="settled")
        case TransactionVoidFailed():
            return replace(transaction, void="failed")
        case TransactionAdvised():
            return replace(transaction, advice="settled")
        case TransactionAdviceFailed():
            return replace(transaction, advice="failed")
        case TransactionAcknowledged() as event:
            return replace(transaction, shown=event.outcome)
        case TransactionJournalConflict() as event:
            return replace(transaction, contradicted=(*transaction.contradicted, event.outcome))
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> Transaction | None:
    return fold(evolve, past)


def shadow_of(transaction: Transaction) -> ShadowVerdict | None:
    """What the shadow policy would have decided in place of the recorded decision, if there was
    one and the product gave no answer."""
    decision = transaction.decision
    if isinstance(decision, TransactionFailedOpen | TransactionFailedClosed):
        return decision.shadow
    return None
