"""What the device is told: a function of what was decided and nothing else."""

from datetime import datetime
from typing import Literal, assert_never

import msgspec

from domain.ids import wire
from domain.transaction.facts import (
    TransactionAllowed,
    TransactionDenied,
    TransactionFailedClosed,
    TransactionFailedOpen,
    TransactionForbidden,
    TransactionNotRecognized,
    TransactionRefused,
)
from domain.transaction.lifecycle import Transaction, sealed_text, text_of


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the device is told (004 §10.3; reference broker.md §3.4).

    Encoded, it never changes, but for a person who has been erased, or a text that the tenant
    keeps no longer: then what the product wrote is gone, and `shredded` says so.
    """

    transaction_id: str
    decision: Literal["allow", "deny", "not_recognized"]
    reason: str | None
    display_message: str
    product_reference: str | None
    ttl_seconds: int
    stand_in: bool
    decided_at: datetime
    user_id: str | msgspec.UnsetType = msgspec.UNSET
    shredded: bool | msgspec.UnsetType = msgspec.UNSET


def answer(transaction: Transaction) -> Answer:
    """The device's answer. Without its text open, one that had a text says that it is shredded.

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
            worded = _worded(base, transaction)
            return replace(worded, decision="allow", ttl_seconds=decision.ttl_seconds)
        case TransactionDenied():
            return replace(_worded(base, transaction), reason=decision.reason)
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


def _worded(base: Answer, transaction: Transaction) -> Answer:
    """With what the product wrote, or the word that it is gone."""
    text = text_of(transaction)
    if text is None:
        gone = sealed_text(transaction) is not None
        return msgspec.structs.replace(base, shredded=True) if gone else base
    return msgspec.structs.replace(
        base, display_message=text.display_message, product_reference=text.reference_id
    )
