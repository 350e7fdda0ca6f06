"""A console person as the log has them, and what may be done to them and by them."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from domain.errors import Conflict, Forbidden, Gone, Invalid, Unauthenticated
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import PLATFORM, OperatorId, PasskeyId, TenantId
from domain.operator.facts import (
    MailOutcome,
    OperatorAccepted,
    OperatorEvent,
    OperatorInvitationMailed,
    OperatorInvited,
    OperatorPasskeyAdded,
    OperatorPasskeyRemoved,
    OperatorPasskeyRenamed,
    OperatorPasskeySuspected,
    OperatorPasskeyUsed,
    OperatorPasswordSet,
    OperatorRecovered,
    OperatorRecoveryCodesIssued,
    OperatorRecoveryCodeUsed,
    OperatorRemoved,
    OperatorResumed,
    OperatorRoleChanged,
    OperatorSeeded,
    OperatorSuspended,
    OperatorTotpEnrolled,
    OperatorTotpRemoved,
    Role,
)

Status = Literal["invited", "active", "suspended", "removed"]

INVITATION_LIVES: Final = timedelta(days=7)
INITIAL_PASSWORD_LIVES: Final = timedelta(hours=24)
PASSWORD_LEAST: Final = 15
"""Of a password that may be all that is asked for (NIST SP 800-63B-4 §3.1.1.2)."""
RECOVERY_CODES: Final = 10


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """`password_until`: until then an initial password counts, which must be changed. Of the
    `passkeys` that count, `suspected` ones may have been copied. `proofs` is the version at which
    what the person may come in by was last changed, which ended every session but one."""

    id: OperatorId
    tenant_id: TenantId
    version: int
    role: Role
    status: Status
    since: datetime
    invitation: int = 0
    invited_until: datetime | None = None
    invitation_mail: MailOutcome | None = None
    password_until: datetime | None = None
    password_set_at: datetime | None = None
    totp: bool = False
    recovery_codes: int = 0
    passkeys: frozenset[PasskeyId] = frozenset()
    suspected: frozenset[PasskeyId] = frozenset()
    proofs: int = 0

    @property
    def has_second_factor(self) -> bool:
        return self.totp or bool(self.passkeys)

    @property
    def must_change_password(self) -> bool:
        return self.password_until is not None


def check_place(tenant_id: TenantId, role: Role) -> None:
    """Platform Admins are of the platform, all others of a tenant. Raises Invalid
    (`role_not_here`)."""
    if (tenant_id == PLATFORM) != (role == "platform_admin"):
        raise Invalid("role_not_here", "the platform has Platform Admins, a tenant has the others")


def seed(operator: Operator | None, now: datetime) -> list[OperatorEvent]:
    if operator is not None:
        return []
    return [OperatorSeeded(password_until=now + INITIAL_PASSWORD_LIVES)]


def invite(
    operator: Operator | None, tenant_id: TenantId, role: Role, now: datetime
) -> list[OperatorEvent]:
    """Raises Invalid (`role_not_here`, `idempotency_key_reused`)."""
    check_place(tenant_id, role)
    if operator is not None:
        if operator.role != role:
            raise Invalid("idempotency_key_reused", "this key was used for another request")
        return []
    return [OperatorInvited(role=role, invitation=1, expires_at=now + INVITATION_LIVES)]


def invite_again(operator: Operator, now: datetime) -> list[OperatorEvent]:
    """The one before is worth nothing any more. Raises Conflict (`operator_not_invited`)."""
    if operator.status != "invited":
        raise Conflict("operator_not_invited", f"the person is {operator.status}")
    number = operator.invitation + 1
    expires_at = now + INVITATION_LIVES
    return [OperatorInvited(role=operator.role, invitation=number, expires_at=expires_at)]


def note_mailed(operator: Operator, invitation: int, outcome: MailOutcome) -> list[OperatorEvent]:
    """What became of the mail with this invitation; of one that counts no more, nothing."""
    if operator.status != "invited" or operator.invitation != invitation:
        return []
    return [OperatorInvitationMailed(invitation=invitation, outcome=outcome)]


def accept(operator: Operator | None, invitation: int, now: datetime) -> list[OperatorEvent]:
    """Raises Unauthenticated (`invitation_invalid`) and Gone (`invitation_expired`)."""
    if operator is None or operator.status != "invited" or operator.invitation != invitation:
        raise Unauthenticated("invitation_invalid")
    assert operator.invited_until is not None, "who is invited is so until a moment"
    if now >= operator.invited_until:
        raise Gone("invitation_expired")
    return [OperatorAccepted()]


def has_accepted(operator: Operator | None, invitation: int) -> bool:
    """Whether this invitation is how the person came in."""
    return (
        operator is not None
        and operator.status == "active"
        and operator.invitation == invitation > 0
    )


def change_role(operator: Operator, role: Role) -> list[OperatorEvent]:
    """Raises Conflict (`operator_removed`) and Invalid (`role_not_here`)."""
    check_place(operator.tenant_id, role)
    _check_there(operator)
    return [] if operator.role == role else [OperatorRoleChanged(role=role)]


def suspend(operator: Operator) -> list[OperatorEvent]:
    """Raises Conflict (`operator_removed`, `operator_not_active`)."""
    _check_there(operator)
    if operator.status == "invited":
        raise Conflict("operator_not_active", "remove who has not come in yet")
    return [OperatorSuspended()] if operator.status == "active" else []


def resume(operator: Operator) -> list[OperatorEvent]:
    """Raises Conflict (`operator_removed`, `operator_not_active`)."""
    _check_there(operator)
    if operator.status == "invited":
        raise Conflict("operator_not_active", "the invitation has not been taken up")
    return [OperatorResumed()] if operator.status == "suspended" else []


def remove(operator: Operator) -> list[OperatorEvent]:
    return [] if operator.status == "removed" else [OperatorRemoved()]


def recover(operator: Operator, now: datetime) -> list[OperatorEvent]:
    """Raises Conflict (`operator_removed`, `operator_not_active`)."""
    _check_there(operator)
    if operator.status == "invited":
        raise Conflict("operator_not_active", "the invitation has not been taken up")
    resumed: list[OperatorEvent] = [OperatorResumed()] if operator.status == "suspended" else []
    return [*resumed, OperatorRecovered(password_until=now + INITIAL_PASSWORD_LIVES)]


def set_password(operator: Operator) -> list[OperatorEvent]:
    check_served(operator)
    return [OperatorPasswordSet()]


def enroll_totp(operator: Operator) -> list[OperatorEvent]:
    check_served(operator)
    return [OperatorTotpEnrolled(), OperatorRecoveryCodesIssued(count=RECOVERY_CODES)]


def issue_recovery_codes(operator: Operator) -> list[OperatorEvent]:
    """Raises Conflict (`totp_not_enrolled`) where there is no second factor at all."""
    check_served(operator)
    if not operator.has_second_factor:
        raise Conflict("totp_not_enrolled", "recovery codes stand in for a second factor")
    return [OperatorRecoveryCodesIssued(count=RECOVERY_CODES)]


def remove_totp(operator: Operator, *, required: bool) -> list[OperatorEvent]:
    """Raises Conflict (`second_factor_needed`) where one is required and there is no other."""
    if not operator.totp:
        return []
    if required and not operator.passkeys:
        raise Conflict(
            "second_factor_needed", "it is required here; enrol another app in its place"
        )
    return [OperatorTotpRemoved()]


def use_recovery_code(operator: Operator) -> list[OperatorEvent]:
    check_served(operator)
    return [OperatorRecoveryCodeUsed()]


def check_served(operator: Operator) -> None:
    """Raises Forbidden (`operator_not_served`)."""
    if operator.status != "active":
        raise Forbidden("operator_not_served")


def _check_there(operator: Operator) -> None:
    if operator.status == "removed":
        raise Conflict("operator_removed", "the person is gone for good")


_CHANGE_PROOFS: Final = (
    OperatorPasskeyAdded,
    OperatorPasskeyRemoved,
    OperatorPasswordSet,
    OperatorRecovered,
    OperatorRemoved,
    OperatorSuspended,
    OperatorTotpEnrolled,
    OperatorTotpRemoved,
)


def evolve(operator: Operator | None, recorded: Recorded) -> Operator:
    event = recorded.event
    match event:
        case OperatorSeeded():
            return _begun(recorded, "platform_admin", "active", password_until=event.password_until)
        case OperatorInvited() if operator is None:
            begun = _begun(recorded, event.role, "invited")
            return _invited(begun, event)
        case _ if operator is None:
            raise UnexpectedEvent(event)
        case _:
            changed = msgspec.structs.replace(operator, version=recorded.version)
            if isinstance(event, OperatorAccepted | OperatorPasswordSet):
                at = recorded.recorded_at
                changed = msgspec.structs.replace(changed, password_set_at=at)
            if isinstance(event, _CHANGE_PROOFS):
                changed = msgspec.structs.replace(changed, proofs=recorded.version)
            return _changed(changed, event)


def _begun(
    recorded: Recorded, role: Role, status: Status, password_until: datetime | None = None
) -> Operator:
    return Operator(
        id=OperatorId(recorded.stream_id),
        tenant_id=recorded.tenant_id,
        version=recorded.version,
        role=role,
        status=status,
        since=recorded.recorded_at,
        password_until=password_until,
    )


def _invited(operator: Operator, event: OperatorInvited) -> Operator:
    return msgspec.structs.replace(
        operator,
        invitation=event.invitation,
        invited_until=event.expires_at,
        invitation_mail=None,
    )


_STATUSES: Final[dict[type[DomainEvent], Status]] = {
    OperatorAccepted: "active",
    OperatorSuspended: "suspended",
    OperatorResumed: "active",
    OperatorRemoved: "removed",
}


def _changed(operator: Operator, event: DomainEvent) -> Operator:
    replace = msgspec.structs.replace
    if type(event) in _STATUSES:
        return replace(operator, status=_STATUSES[type(event)], invited_until=None)
    match event:
        case OperatorInvited():
            return _invited(operator, event)
        case OperatorInvitationMailed(invitation=invitation, outcome=outcome):
            current = invitation == operator.invitation
            return replace(operator, invitation_mail=outcome) if current else operator
        case OperatorRoleChanged(role=role):
            return replace(operator, role=role)
        case OperatorPasswordSet():
            return replace(operator, password_until=None)
        case OperatorRecovered(password_until=until):
            cleared = replace(operator, totp=False, recovery_codes=0, password_until=until)
            return replace(cleared, passkeys=frozenset(), suspected=frozenset())
        case _:
            return _proved(operator, event)


def _proved(operator: Operator, event: DomainEvent) -> Operator:
    """What counts as a second factor, after one more fact."""
    replace = msgspec.structs.replace
    match event:
        case OperatorTotpEnrolled():
            return replace(operator, totp=True)
        case OperatorTotpRemoved():
            return replace(operator, totp=False, recovery_codes=0)
        case OperatorRecoveryCodesIssued(count=count):
            return replace(operator, recovery_codes=count)
        case OperatorRecoveryCodeUsed():
            return replace(operator, recovery_codes=max(0, operator.recovery_codes - 1))
        case _:
            return _with_passkey(operator, event)


def _with_passkey(operator: Operator, event: DomainEvent) -> Operator:
    """Which passkeys count, after one more fact."""
    replace = msgspec.structs.replace
    match event:
        case OperatorPasskeyAdded(passkey_id=passkey_id):
            return replace(operator, passkeys=operator.passkeys | {passkey_id})
        case OperatorPasskeyRemoved(passkey_id=passkey_id):
            left = replace(
                operator,
                passkeys=operator.passkeys - {passkey_id},
                suspected=operator.suspected - {passkey_id},
            )
            return left if left.has_second_factor else replace(left, recovery_codes=0)
        case OperatorPasskeySuspected(passkey_id=passkey_id):
            return replace(operator, suspected=operator.suspected | {passkey_id})
        case OperatorPasskeyRenamed() | OperatorPasskeyUsed():
            return operator
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> Operator | None:
    return fold(evolve, past)
