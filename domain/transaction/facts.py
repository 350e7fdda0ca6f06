"""What can be said of a transaction: its events, and the reasons that stand in them."""

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from domain.attestation import Assurance
from domain.events import DomainEvent, Payload
from domain.fail_mode import FailMode
from domain.ids import DeviceId, LinkedServiceId, PalmRef, UserId
from domain.matching import ScoredPalm
from domain.transaction.aftermath import (
    TransactionAcknowledged,
    TransactionAdviceFailed,
    TransactionAdvised,
    TransactionJournalConflict,
    TransactionVoided,
    TransactionVoidFailed,
    TransactionVoidRequested,
)

NotRecognizedReason = Literal["no_candidate", "low_confidence", "ambiguous"]
PersonRefusal = Literal[
    "user_suspended", "user_erased", "consent_withdrawn", "consent_required", "kyc_required"
]
RefusedReason = Literal[PersonRefusal, "palm_removed"]
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
    "abandoned",
]
StandInReason = Literal["authorize_timeout", "circuit_open", "connect_error", "product_5xx"]
VendorFailure = Literal["palm_vendor_error", "palm_vendor_timeout"]


class TransactionReceived(DomainEvent, frozen=True, kw_only=True):
    """A device asked. The context stays with device and product; the log keeps a commitment.

    `fingerprint` is of the whole request and `context_hash` of the context. Where `commitments`
    is `tenant_salted`, only who has the tenant's key can compute them; `sha256` stands in what
    older releases wrote.

    `device_version` and `tenant_version` are those of the two streams that the binding, the
    certificate and the settings were read from; 0 where an older release did not say.
    `simulated`: there was no device and no palm (`application/transactions/simulation.py`).
    `seq` and `captured_at` are the device's own count and clock; `quality` (0 to 100) and
    `liveness` (0 to 1) are what it says of its picture.
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
    seq: int | None = None
    quality: float | None = None
    liveness: float | None = None
    captured_at: datetime | None = None
    commitments: Literal["sha256", "tenant_salted"] = "sha256"
    simulated: bool = False


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
    and `lease_until` say whose attempt it is and until when. `device_assurance` is how well the
    key of the device is attested; None in what was recorded before it was told.
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
    device_assurance: Assurance | None = None


class ProductText(msgspec.Struct, frozen=True, kw_only=True):
    """What a product writes into its answer: a line for the display, and its own reference."""

    display_message: str = ""
    reference_id: str | None = None


class TransactionAllowed(DomainEvent, frozen=True, kw_only=True):
    """The product said yes.

    `text_commitment` stands for its text, which is kept sealed under the person's key; None when
    there was none. Version 1 had the text itself, which is then `text_in_clear`.
    """

    NAME: ClassVar[str] = "transaction.allowed"
    VERSION: ClassVar[int] = 2
    ttl_seconds: int
    authorize_ms: float
    decided_at: datetime
    total_ms: float
    text_commitment: str | None = None
    text_in_clear: ProductText | msgspec.UnsetType = msgspec.UNSET


class TransactionDenied(DomainEvent, frozen=True, kw_only=True):
    """The product said no. Its text is where `transaction.allowed` has it."""

    NAME: ClassVar[str] = "transaction.denied"
    VERSION: ClassVar[int] = 2
    reason: str
    authorize_ms: float
    decided_at: datetime
    total_ms: float
    text_commitment: str | None = None
    text_in_clear: ProductText | msgspec.UnsetType = msgspec.UNSET


def text_set_apart(stored: Payload) -> Payload:
    """From version 1, which held the product's text, to version 2 of both."""
    text = {name: stored[name] for name in ("display_message", "reference_id")}
    kept = {name: value for name, value in stored.items() if name not in text}
    return {**kept, "text_in_clear": text}


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
    """We know the person and may not serve them now, or not by this palm any more.

    `void_needed`: an attempt that died before may have asked the product for them. Where somebody
    took over, `user_version` and `tenant_version` are what was read then, else 0.
    """

    NAME: ClassVar[str] = "transaction.refused"
    user_id: UserId
    reason: RefusedReason
    decided_at: datetime
    total_ms: float
    void_needed: bool = False
    user_version: int = 0
    tenant_version: int = 0


class ShadowVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the linked service's shadow policy would have decided. `reason` is why it would have
    allowed, or the bound that it met; none where it fails closed, or the failure is no silence.
    The policy is that of `service_version` of the service; verdicts before these are without."""

    would: Literal["allow", "deny"]
    reason: StandInReason | Literal["stand_in_limit"] | None = None
    service_id: LinkedServiceId | None = None
    service_version: int = 0


class TransactionFailedClosed(DomainEvent, frozen=True, kw_only=True):
    """No answer that counts, and this lane stays shut without one; `drill` when that was rehearsed.

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
    drill: bool = False
    shadow: ShadowVerdict | None = None


class TransactionFailedOpen(DomainEvent, frozen=True, kw_only=True):
    """No answer in time, and this lane opens without one, within its budget.

    `advice_needed`: the product must be told what was allowed in its place. `drill`: nobody was
    asked, because an outage was rehearsed.
    """

    NAME: ClassVar[str] = "transaction.failed_open"
    reason: StandInReason
    advice_needed: bool
    detail: str
    authorize_ms: float | None
    decided_at: datetime
    total_ms: float
    drill: bool = False
    shadow: ShadowVerdict | None = None


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
    | TransactionVoidRequested
    | TransactionVoided
    | TransactionVoidFailed
    | TransactionAdvised
    | TransactionAdviceFailed
    | TransactionAcknowledged
    | TransactionJournalConflict
)
