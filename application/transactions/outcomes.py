"""What becomes of a transaction, as it is recorded: the table of reference broker.md §3.4.

Each function turns what happened into the one event for it. Whether the product is owed a void
or an advice is settled here, and nowhere else.
"""

from datetime import datetime
from typing import Literal

import msgspec

from application.palms.recognition import NotRecognised
from application.ports import Authorized, AuthorizeFailed, PalmVendorFailed
from domain import transaction as x
from domain import user as u
from domain.ids import UserId
from domain.linked_service import LinkedService
from domain.tenant import Tenant


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """When it was settled, and for how many milliseconds the device had waited by then."""

    decided_at: datetime
    total_ms: float


def forbidden(moment: Moment) -> x.TransactionForbidden:
    return x.TransactionForbidden(
        reason="palm_type_not_allowed", decided_at=moment.decided_at, total_ms=moment.total_ms
    )


def vendor_failed(error: PalmVendorFailed, moment: Moment) -> x.TransactionVendorFailed:
    return x.TransactionVendorFailed(
        reason=error.reason,
        vendor_code=error.vendor_code,
        vendor_message=error.vendor_message,
        failed_at=moment.decided_at,
        total_ms=moment.total_ms,
    )


def not_recognized(found: NotRecognised, moment: Moment) -> x.TransactionNotRecognized:
    return x.TransactionNotRecognized(
        reason=found.reason,
        scores=found.scores,
        thresholds=found.thresholds,
        policy_version=found.policy_version,
        identify_ms=found.identify_ms,
        decided_at=moment.decided_at,
        total_ms=moment.total_ms,
        candidates=found.candidates,
        vendor_thresholds=found.vendor_thresholds,
    )


def refusal(tenant: Tenant, user: u.User) -> x.PersonRefusal | None:
    """Why this person may not be served now, checked at transaction time."""
    settings = tenant.settings
    if user.status in ("erasing", "erased"):
        return "user_erased"
    if user.status != "active":
        return "user_suspended"
    if settings.kyc_required and user.kyc_status != "verified":
        return "kyc_required"
    consent = user.consent_status(u.PALM_ENROLLMENT, settings.consent_version)
    if consent == "withdrawn":
        return "consent_withdrawn"
    if settings.consent_required and consent == "none":
        return "consent_required"
    return None


def refused(
    user_id: UserId, reason: x.RefusedReason, moment: Moment, *, asked_before: bool = False
) -> x.TransactionRefused:
    """This person may not be served; an attempt that died may have `asked_before`."""
    return x.TransactionRefused(
        user_id=user_id,
        reason=reason,
        void_needed=asked_before,
        decided_at=moment.decided_at,
        total_ms=moment.total_ms,
    )


def abandoned(moment: Moment) -> x.TransactionFailedClosed:
    """Nobody finished in time: there is no gate left to open, and the product may have said yes."""
    return x.TransactionFailedClosed(
        reason="abandoned",
        void_needed=True,
        detail="",
        authorize_ms=None,
        decided_at=moment.decided_at,
        total_ms=moment.total_ms,
    )


def not_asked(
    reason: Literal["linked_service_unavailable", "action_not_allowed"],
    service: LinkedService | None,
    moment: Moment,
    *,
    asked_before: bool = False,
) -> x.TransactionFailedClosed:
    """The product may not be asked, or no longer: an attempt that died may have `asked_before`.

    `service` is the one that was found and may not be asked; None when there is none.
    """
    return x.TransactionFailedClosed(
        reason=reason,
        void_needed=asked_before,
        detail="",
        authorize_ms=None,
        decided_at=moment.decided_at,
        total_ms=moment.total_ms,
        service_id=None if service is None else service.id,
        service_version=0 if service is None else service.version,
    )


def answered(
    said: Authorized, text_commitment: str | None, authorize_ms: float, moment: Moment
) -> x.TransactionAllowed | x.TransactionDenied:
    """The product's own word."""
    if said.decision == "allow":
        return x.TransactionAllowed(
            ttl_seconds=said.ttl_seconds,
            authorize_ms=authorize_ms,
            decided_at=moment.decided_at,
            total_ms=moment.total_ms,
            text_commitment=text_commitment,
        )
    return x.TransactionDenied(
        reason=said.reason_code or "product_denied",
        authorize_ms=authorize_ms,
        decided_at=moment.decided_at,
        total_ms=moment.total_ms,
        text_commitment=text_commitment,
    )


def unanswered(
    failed: AuthorizeFailed,
    intent: x.TransactionAuthorizationRequested,
    stand_in: x.StandInReason | Literal["stand_in_limit"] | None,
    shadow: x.ShadowVerdict | None,
    authorize_ms: float,
    moment: Moment,
) -> x.TransactionFailedOpen | x.TransactionFailedClosed:
    """No answer that counts: open where the lane may and has a budget left, closed otherwise."""
    if stand_in is not None and stand_in != "stand_in_limit":
        return x.TransactionFailedOpen(
            reason=stand_in,
            advice_needed=True,
            detail=failed.detail,
            authorize_ms=authorize_ms,
            decided_at=moment.decided_at,
            total_ms=moment.total_ms,
            drill=failed.drill,
            shadow=shadow,
        )
    reason: x.FailClosedReason = (
        "product_malformed" if failed.failure == "product_refused" else failed.failure
    )
    said_no = failed.failure in ("product_refused", "assertion_rejected", "egress_blocked")
    # An earlier attempt, of which nobody heard the end, may have been told yes.
    asked_before = intent.epoch > 1
    return x.TransactionFailedClosed(
        reason=stand_in or reason,
        void_needed=(failed.reached and not said_no) or asked_before,
        detail=failed.detail if stand_in is None else failed.failure,
        authorize_ms=authorize_ms,
        decided_at=moment.decided_at,
        total_ms=moment.total_ms,
        drill=failed.drill,
        shadow=shadow,
    )
