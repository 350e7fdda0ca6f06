"""Transaction: one palm at one device, one question to one product, one decision for ever.

    (none) ─▶ received ─▶ identified ─▶ authorizing ─▶ decided ─▶ relayed
                  └──── no match, forbidden, refused ────▲

`received`, `identified` and the intent to authorize are one commit, made before a byte leaves
for the product; the decision is a second commit, made before the device hears of it
(reference broker.md §4). Once decided, the answer is a function of this stream alone, so a
retry with the same key is answered byte for byte the same. A vendor failure ends an attempt
and not the transaction: no product was asked, so the same key may try again for a minute.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import ClassVar, Final, Literal, assert_never

import msgspec

from domain.errors import Conflict, Invalid
from domain.events import DomainEvent, Recorded
from domain.fail_mode import FailMode
from domain.folding import UnexpectedEvent, fold
from domain.ids import DeviceId, LinkedServiceId, PalmRef, TenantId, TransactionId, UserId, wire
from domain.matching import ScoredPalm

NotRecognizedReason = Literal["no_candidate", "low_confidence", "ambiguous"]
RefusedReason = Literal["user_suspended", "consent_withdrawn", "consent_required", "kyc_required"]
FailClosedReason = Literal[
    "authorize_timeout",
    "circuit_open",
    "connect_error",
    "product_5xx",
    "product_malformed",
    "assertion_rejected",
    "egress_blocked",
    "stand_in_limit",
    "linked_service_unavailable",
    "action_not_allowed",
]
StandInReason = Literal["authorize_timeout", "circuit_open", "connect_error", "product_5xx"]
VendorFailure = Literal["palm_vendor_error", "palm_vendor_timeout"]

VENDOR_RETRY: Final = timedelta(seconds=60)


class TransactionReceived(DomainEvent, frozen=True, kw_only=True):
    """A device asked. The context stays with device and product; the log keeps its hash.

    `device_version` and `tenant_version` are those of the two streams that the binding, the
    certificate and the settings were read from; 0 where an older release did not say.
    """

    NAME: ClassVar[str] = "transaction.received"
    device_id: DeviceId
    idempotency_key: str
    fingerprint: str
    scan_sha256: str
    context_hash: str
    deadline_ms: int
    attempt: int
    certificate_fingerprint: str
    received_at: datetime
    tells_user_id: bool = False
    device_version: int = 0
    tenant_version: int = 0


class TransactionIdentified(DomainEvent, frozen=True, kw_only=True):
    """We know whose palm it is, under which policy, with which scores. `device`: on its word.

    `candidates` are all palms that were compared and `vendor_thresholds` what the vendor, or
    the device, asked of them: what it takes to judge them again. `user_version` is that of the
    stream from which the person's state and consent were read.
    """

    NAME: ClassVar[str] = "transaction.identified"
    user_id: UserId
    palm_ref: PalmRef | None
    match_source: Literal["server", "device"]
    scores: tuple[float, ...]
    thresholds: tuple[float, ...]
    policy_version: int
    identify_ms: float
    user_version: int = 0
    candidates: tuple[ScoredPalm, ...] = ()
    vendor_thresholds: tuple[float, ...] = ()


class TransactionAuthorizationRequested(DomainEvent, frozen=True, kw_only=True):
    """The intent: the product is about to be asked, in exactly this way.

    Whoever finds this event without a decision knows whom to ask again or to void:
    `product_idempotency_key` is the same over every attempt, `jti` is fresh in each. `epoch`
    and `lease_until` say whose attempt it is and until when.
    """

    NAME: ClassVar[str] = "transaction.authorization_requested"
    service_id: LinkedServiceId
    service_version: int
    product_key: str
    action: str
    base_url: str
    authorize_path: str
    void_path: str | None
    advice_path: str | None
    timeout_ms: int
    fail_mode: FailMode
    product_idempotency_key: str
    jti: str
    epoch: int
    lease_until: datetime


class TransactionAllowed(DomainEvent, frozen=True, kw_only=True):
    """The product said yes."""

    NAME: ClassVar[str] = "transaction.allowed"
    display_message: str
    reference_id: str | None
    ttl_seconds: int
    authorize_ms: float
    decided_at: datetime
    total_ms: float


class TransactionDenied(DomainEvent, frozen=True, kw_only=True):
    """The product said no."""

    NAME: ClassVar[str] = "transaction.denied"
    reason: str
    display_message: str
    reference_id: str | None
    authorize_ms: float
    decided_at: datetime
    total_ms: float


class TransactionNotRecognized(DomainEvent, frozen=True, kw_only=True):
    """Nobody's palm, or not clearly one person's. No product was asked.

    `candidates` and `vendor_thresholds` are as in `transaction.identified`.
    """

    NAME: ClassVar[str] = "transaction.not_recognized"
    reason: NotRecognizedReason
    scores: tuple[float, ...] | None
    thresholds: tuple[float, ...]
    policy_version: int
    identify_ms: float
    decided_at: datetime
    total_ms: float
    candidates: tuple[ScoredPalm, ...] = ()
    vendor_thresholds: tuple[float, ...] = ()


class TransactionForbidden(DomainEvent, frozen=True, kw_only=True):
    """The vendor may not be asked about this kind of palm (code 30008)."""

    NAME: ClassVar[str] = "transaction.forbidden"
    reason: Literal["palm_type_not_allowed"]
    decided_at: datetime
    total_ms: float


class TransactionRefused(DomainEvent, frozen=True, kw_only=True):
    """We know the person and may not serve them now. No product was asked."""

    NAME: ClassVar[str] = "transaction.refused"
    user_id: UserId
    reason: RefusedReason
    decided_at: datetime
    total_ms: float


class TransactionFailedClosed(DomainEvent, frozen=True, kw_only=True):
    """No answer that counts, and this lane stays shut without one.

    `void_needed`: the product may have said yes to somebody who was told no. `service_id` and
    `service_version` name the service that could not be asked; otherwise the intent does.
    """

    NAME: ClassVar[str] = "transaction.failed_closed"
    reason: FailClosedReason
    void_needed: bool
    detail: str
    authorize_ms: float | None
    decided_at: datetime
    total_ms: float
    service_id: LinkedServiceId | None = None
    service_version: int = 0


class TransactionFailedOpen(DomainEvent, frozen=True, kw_only=True):
    """No answer in time, and this lane opens without one, within its budget.

    `advice_needed`: the product must be told what was allowed in its place.
    """

    NAME: ClassVar[str] = "transaction.failed_open"
    reason: StandInReason
    advice_needed: bool
    detail: str
    authorize_ms: float | None
    decided_at: datetime
    total_ms: float


class TransactionVendorFailed(DomainEvent, frozen=True, kw_only=True):
    """The palm vendor failed; this attempt is over, the same key may try again."""

    NAME: ClassVar[str] = "transaction.vendor_failed"
    reason: VendorFailure
    vendor_code: int | None
    vendor_message: str
    failed_at: datetime
    total_ms: float


class TransactionRelayed(DomainEvent, frozen=True, kw_only=True):
    """The answer was handed to the transport. That is not proof that anybody saw it."""

    NAME: ClassVar[str] = "transaction.relayed"
    relayed_at: datetime


Decision = (
    TransactionAllowed
    | TransactionDenied
    | TransactionNotRecognized
    | TransactionForbidden
    | TransactionRefused
    | TransactionFailedClosed
    | TransactionFailedOpen
)

TransactionEvent = (
    TransactionReceived
    | TransactionIdentified
    | TransactionAuthorizationRequested
    | Decision
    | TransactionVendorFailed
    | TransactionRelayed
)


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    id: TransactionId
    tenant_id: TenantId
    version: int
    received: TransactionReceived
    identified: TransactionIdentified | None = None
    intent: TransactionAuthorizationRequested | None = None
    vendor_failed: TransactionVendorFailed | None = None
    decision: Decision | None = None
    relayed: bool = False

    @property
    def status(self) -> Literal["received", "identified", "authorizing", "decided"]:
        if self.decision is not None:
            return "decided"
        if self.intent is not None:
            return "authorizing"
        return "identified" if self.identified is not None else "received"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the device is told (004 §10.3; reference broker.md §3.4). Encoded, it never changes."""

    transaction_id: str
    decision: Literal["allow", "deny", "not_recognized"]
    reason: str | None
    display_message: str
    product_reference: str | None
    ttl_seconds: int
    stand_in: bool
    decided_at: datetime
    user_id: str | msgspec.UnsetType = msgspec.UNSET


def check_same_request(transaction: Transaction, fingerprint: str) -> None:
    """Raises Invalid (`idempotency_key_reused`, 422) when the key was used for another request."""
    if transaction.received.fingerprint != fingerprint:
        raise key_reused()


def key_reused() -> Invalid:
    return Invalid("idempotency_key_reused", "this key was used for another request")


def attempt_of(transaction: Transaction | None, now: datetime) -> int:
    """The number of the attempt that may start now.

    Raises Conflict (`request_in_progress`) while another attempt owns the transaction, and when
    a failed vendor's minute is over: a new palm capture is a new transaction with a new key.
    """
    if transaction is None:
        return 1
    failed = transaction.vendor_failed
    if transaction.decision is None and transaction.intent is None and failed is not None:
        if now - failed.failed_at <= VENDOR_RETRY:
            return transaction.received.attempt + 1
        raise Conflict("idempotency_key_expired", "capture again and use a new key")
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
        case TransactionFailedClosed():
            product_concerned = decision.void_needed
        case _:
            product_concerned = False
    if product_concerned and transaction.intent is None:
        raise Conflict("intent_missing")
    return [decision]


def answer(transaction: Transaction) -> Answer:
    """The device's answer, from what is recorded and nothing else.

    Whether it names the person is the tenant's setting as it was when the device asked.
    """
    decision = transaction.decision
    assert decision is not None, "only a decided transaction has an answer"
    known = transaction.identified
    base = Answer(
        transaction_id=wire("txn", transaction.id),
        decision="deny",
        reason=None,
        display_message="",
        product_reference=None,
        ttl_seconds=0,
        stand_in=False,
        decided_at=decision.decided_at,
        user_id=(
            wire("usr", known.user_id)
            if known is not None and transaction.received.tells_user_id
            else msgspec.UNSET
        ),
    )
    replace = msgspec.structs.replace
    match decision:
        case TransactionAllowed():
            return replace(
                base,
                decision="allow",
                display_message=decision.display_message,
                product_reference=decision.reference_id,
                ttl_seconds=decision.ttl_seconds,
            )
        case TransactionDenied():
            return replace(
                base,
                reason=decision.reason,
                display_message=decision.display_message,
                product_reference=decision.reference_id,
            )
        case TransactionNotRecognized():
            return replace(
                base,
                decision="not_recognized",
                reason=decision.reason,
                display_message="Palm not recognized",
            )
        case TransactionForbidden():
            return replace(base, reason=decision.reason, display_message="Try other hand")
        case TransactionRefused():
            return replace(base, reason=decision.reason, display_message="Not available")
        case TransactionFailedClosed():
            return replace(base, reason=decision.reason, display_message="Try again")
        case TransactionFailedOpen():
            return replace(base, decision="allow", reason=decision.reason, stand_in=True)
        case _:
            assert_never(decision)


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
        case TransactionRelayed():
            return replace(transaction, version=recorded.version, relayed=True)
        case (
            TransactionAllowed()
            | TransactionDenied()
            | TransactionNotRecognized()
            | TransactionForbidden()
            | TransactionRefused()
            | TransactionFailedClosed()
            | TransactionFailedOpen()
        ) if transaction.decision is None:
            return replace(transaction, version=recorded.version, decision=event)
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> Transaction | None:
    return fold(evolve, past)
