"""What follows a decision: what the device showed, and what the product was owed and got.

A void undoes what a product may have allowed and nobody saw; an advice tells a product what was
allowed in its place (reference broker.md §3.7). Decisions that say `void_needed` or
`advice_needed` owe them from the commit of the decision on.
"""

from datetime import datetime
from typing import ClassVar, Literal

from domain.events import DomainEvent

VoidReason = Literal["timeout", "abandoned", "not_received", "aborted", "late_allow"]
Shown = Literal["shown_allow", "shown_deny", "not_received", "aborted"]
"""What a device did with an answer: showed it, never had it, or was interrupted before it could."""


class TransactionVoidRequested(DomainEvent, frozen=True, kw_only=True):
    """Nobody saw the allow that was given: the product must undo it."""

    NAME: ClassVar[str] = "transaction.void_requested"
    reason: VoidReason
    requested_at: datetime


class TransactionVoided(DomainEvent, frozen=True, kw_only=True):
    """The product acknowledged: undone now or before, or never seen and refused from now on."""

    NAME: ClassVar[str] = "transaction.voided"
    status: Literal["voided", "already_voided", "not_found"]
    attempt: int
    voided_at: datetime


class TransactionVoidFailed(DomainEvent, frozen=True, kw_only=True):
    """The product did not undo it: it cannot, it stayed away too long, or has no void endpoint.

    Without an endpoint the fact goes out by webhook, and its owner undoes it.
    """

    NAME: ClassVar[str] = "transaction.void_failed"
    reason: Literal["cannot_void", "exhausted", "no_void_path"]
    attempt: int
    failed_at: datetime


class TransactionAdvised(DomainEvent, frozen=True, kw_only=True):
    """The product knows what was allowed in its place. `disputed`: it had said no itself;
    `voided`: it had been told before to undo it."""

    NAME: ClassVar[str] = "transaction.advised"
    status: Literal["recorded", "already_recorded", "disputed", "voided"]
    attempt: int
    advised_at: datetime


class TransactionAdviceFailed(DomainEvent, frozen=True, kw_only=True):
    """The product was not told by us: it stayed away too long, or has no advice endpoint.

    `voided`: nobody saw the allow, so there is nothing to book. `context_gone`: the person has been
    erased, and with them what there was to tell.
    """

    NAME: ClassVar[str] = "transaction.advice_failed"
    reason: Literal["exhausted", "no_advice_path", "voided", "context_gone"]
    attempt: int
    failed_at: datetime


class TransactionAcknowledged(DomainEvent, frozen=True, kw_only=True):
    """The device's journal says what became of the answer. `shown_at` is by the device's clock."""

    NAME: ClassVar[str] = "transaction.acknowledged"
    outcome: Shown
    shown_at: datetime
    acknowledged_at: datetime


class TransactionJournalConflict(DomainEvent, frozen=True, kw_only=True):
    """The device's journal contradicts the decision, or what it said before; nothing follows."""

    NAME: ClassVar[str] = "transaction.journal_conflict"
    outcome: Shown
    shown_at: datetime
    noted_at: datetime
