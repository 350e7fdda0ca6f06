"""Approval: what one person asks to destroy, another agrees to, and which is then done once.

Who asked and who agreed is in the envelope of the events. Time runs out by itself: an approval that
nobody gave or used in time is worth nothing, and no event says so.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from domain.errors import Conflict, Forbidden, Gone, Invalid
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import ApprovalId, TenantId

Operation = Literal["tenant.delete", "ca.regenerate", "platform_admin.remove", "user.erase"]
"""What takes two people."""

Status = Literal["asked", "approved", "refused", "expired", "carried_out"]


class ApprovalAsked(DomainEvent, frozen=True, kw_only=True):
    """Somebody wants to do this to `subject`; once approved it waits for `wait_s` seconds."""

    NAME: ClassVar[str] = "approval.asked"
    operation: Operation
    subject: UUID
    wait_s: int
    expires_at: datetime


class ApprovalGiven(DomainEvent, frozen=True, kw_only=True):
    """Somebody else agreed; it may be done from `usable_from` on."""

    NAME: ClassVar[str] = "approval.given"
    usable_from: datetime


class ApprovalRefused(DomainEvent, frozen=True, kw_only=True):
    """Somebody does not want it done, be it who asked; it was not done, and will not be by this."""

    NAME: ClassVar[str] = "approval.refused"


class ApprovalCarriedOut(DomainEvent, frozen=True, kw_only=True):
    """What was approved is done, in this very commit; the approval is used up."""

    NAME: ClassVar[str] = "approval.carried_out"


ApprovalEvent = ApprovalAsked | ApprovalGiven | ApprovalRefused | ApprovalCarriedOut


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    id: ApprovalId
    tenant_id: TenantId
    version: int
    operation: Operation
    subject: UUID
    asked_by: str
    asked_at: datetime
    wait: timedelta
    expires_at: datetime
    decision: Literal["given", "refused", "carried_out"] | None = None
    decided_by: str | None = None
    usable_from: datetime | None = None

    def status(self, now: datetime) -> Status:
        match self.decision:
            case "refused" | "carried_out":
                return self.decision
            case _ if now >= self.expires_at:
                return "expired"
            case "given":
                return "approved"
            case None:
                return "asked"


def ask(
    approval: Approval | None,
    operation: Operation,
    subject: UUID,
    *,
    wait: timedelta,
    lives: timedelta,
    now: datetime,
) -> list[ApprovalEvent]:
    """The same again says nothing. Raises Invalid (`idempotency_key_reused`)."""
    if approval is not None:
        if (approval.operation, approval.subject) != (operation, subject):
            raise Invalid("idempotency_key_reused", "this key was used for another request")
        return []
    asked = ApprovalAsked(
        operation=operation,
        subject=subject,
        wait_s=int(wait.total_seconds()),
        expires_at=now + lives,
    )
    return [asked]


def give(approval: Approval, actor: str, now: datetime) -> list[ApprovalEvent]:
    """Agree. Again, by the same, it says nothing.

    Raises Forbidden (`approval_needs_another_person`), Conflict (`approval_decided`) and Gone
    (`approval_expired`).
    """
    if approval.asked_by == actor:
        raise Forbidden("approval_needs_another_person", "somebody else has to agree")
    if approval.decision == "given" and approval.decided_by == actor:
        return []
    _check_undecided(approval, now)
    return [ApprovalGiven(usable_from=now + approval.wait)]


def refuse(approval: Approval, now: datetime) -> list[ApprovalEvent]:
    """Also of what was agreed to, for as long as it has not been done; who asked may too.

    Raises Conflict (`approval_decided`) and Gone (`approval_expired`).
    """
    if approval.decision == "refused":
        return []
    if approval.decision != "given":
        _check_undecided(approval, now)
    elif now >= approval.expires_at:
        raise Gone("approval_expired")
    return [ApprovalRefused()]


def carry_out(
    approval: Approval, operation: Operation, subject: UUID, now: datetime
) -> list[ApprovalEvent]:
    """Use it up, for exactly what was approved.

    Raises Forbidden (`approval_required`) for one of something else and one that was not given,
    Conflict (`approval_decided`, `approval_waiting`) and Gone (`approval_expired`).
    """
    if (approval.operation, approval.subject) != (operation, subject):
        raise Forbidden("approval_required", "this approval is of something else")
    if approval.decision in ("refused", "carried_out"):
        raise Conflict("approval_decided", f"it was {approval.decision}")
    if now >= approval.expires_at:
        raise Gone("approval_expired")
    if approval.usable_from is None:
        raise Forbidden("approval_required", "nobody else has agreed yet")
    if now < approval.usable_from:
        raise Conflict(
            "approval_waiting", f"it may be done from {approval.usable_from.isoformat()} on"
        )
    return [ApprovalCarriedOut()]


def _check_undecided(approval: Approval, now: datetime) -> None:
    if approval.decision is not None:
        raise Conflict("approval_decided", f"it was {approval.decision}")
    if now >= approval.expires_at:
        raise Gone("approval_expired")


def evolve(approval: Approval | None, recorded: Recorded) -> Approval:
    event = recorded.event
    if isinstance(event, ApprovalAsked):
        return Approval(
            id=ApprovalId(recorded.stream_id),
            tenant_id=recorded.tenant_id,
            version=recorded.version,
            operation=event.operation,
            subject=event.subject,
            asked_by=recorded.actor,
            asked_at=recorded.recorded_at,
            wait=timedelta(seconds=event.wait_s),
            expires_at=event.expires_at,
        )
    if approval is None:
        raise UnexpectedEvent(event)
    replace = msgspec.structs.replace
    approval = replace(approval, version=recorded.version)
    match event:
        case ApprovalGiven(usable_from=usable_from):
            return replace(
                approval, decision="given", decided_by=recorded.actor, usable_from=usable_from
            )
        case ApprovalRefused():
            return replace(approval, decision="refused", decided_by=recorded.actor)
        case ApprovalCarriedOut():
            return replace(approval, decision="carried_out")
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> Approval | None:
    return fold(evolve, past)
