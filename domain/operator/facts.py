"""What can happen to a console person. No name, address, password or key stands here."""

from datetime import datetime
from typing import ClassVar, Literal

from domain.events import DomainEvent
from domain.ids import PasskeyId

MailOutcome = Literal["sent", "failed"]
Role = Literal["platform_admin", "tenant_admin", "tenant_operator"]


class OperatorSeeded(DomainEvent, frozen=True, kw_only=True):
    """The first Platform Admin, made from the environment of the first start (003 §3.6)."""

    NAME: ClassVar[str] = "operator.seeded"
    password_until: datetime


class OperatorInvited(DomainEvent, frozen=True, kw_only=True):
    """Somebody may come in with this role, by an invitation of this number."""

    NAME: ClassVar[str] = "operator.invited"
    role: Role
    invitation: int
    expires_at: datetime


class OperatorInvitationMailed(DomainEvent, frozen=True, kw_only=True):
    """The invitation of this number was handed to the mail server, or could not be."""

    NAME: ClassVar[str] = "operator.invitation_mailed"
    invitation: int
    outcome: MailOutcome


class OperatorAccepted(DomainEvent, frozen=True, kw_only=True):
    """The invitation was taken up: there is a password, and the person may sign in."""

    NAME: ClassVar[str] = "operator.accepted"


class OperatorRoleChanged(DomainEvent, frozen=True, kw_only=True):
    """From here on the person has this role, and signs in anew."""

    NAME: ClassVar[str] = "operator.role_changed"
    role: Role


class OperatorSuspended(DomainEvent, frozen=True, kw_only=True):
    """The person may not come in until resumed."""

    NAME: ClassVar[str] = "operator.suspended"


class OperatorResumed(DomainEvent, frozen=True, kw_only=True):
    """The person may come in again."""

    NAME: ClassVar[str] = "operator.resumed"


class OperatorRemoved(DomainEvent, frozen=True, kw_only=True):
    """The person is gone for good; the e-mail may be invited again, as somebody new."""

    NAME: ClassVar[str] = "operator.removed"


class OperatorPasswordSet(DomainEvent, frozen=True, kw_only=True):
    """The person has chosen another password."""

    NAME: ClassVar[str] = "operator.password_set"


class OperatorRecovered(DomainEvent, frozen=True, kw_only=True):
    """Whoever runs the platform's machine gave a new initial password, and took every second
    factor away."""

    NAME: ClassVar[str] = "operator.recovered"
    password_until: datetime


class OperatorTotpEnrolled(DomainEvent, frozen=True, kw_only=True):
    """An authenticator app was proved; codes of another count no more."""

    NAME: ClassVar[str] = "operator.totp_enrolled"


class OperatorTotpRemoved(DomainEvent, frozen=True, kw_only=True):
    """No authenticator app counts any more, and no recovery code."""

    NAME: ClassVar[str] = "operator.totp_removed"


class OperatorRecoveryCodesIssued(DomainEvent, frozen=True, kw_only=True):
    """These are the recovery codes now, and none of before."""

    NAME: ClassVar[str] = "operator.recovery_codes_issued"
    count: int


class OperatorRecoveryCodeUsed(DomainEvent, frozen=True, kw_only=True):
    """A recovery code stood in for the authenticator app, once."""

    NAME: ClassVar[str] = "operator.recovery_code_used"


class OperatorPasskeyAdded(DomainEvent, frozen=True, kw_only=True):
    """A passkey was proved and counts; `backup_eligible` ones may be on several devices."""

    NAME: ClassVar[str] = "operator.passkey_added"
    passkey_id: PasskeyId
    backup_eligible: bool


class OperatorPasskeyRenamed(DomainEvent, frozen=True, kw_only=True):
    """The passkey is called something else, which stands outside the log."""

    NAME: ClassVar[str] = "operator.passkey_renamed"
    passkey_id: PasskeyId


class OperatorPasskeyRemoved(DomainEvent, frozen=True, kw_only=True):
    """The passkey counts no more."""

    NAME: ClassVar[str] = "operator.passkey_removed"
    passkey_id: PasskeyId


class OperatorPasskeyUsed(DomainEvent, frozen=True, kw_only=True):
    """The person signed in by this passkey, alone or after the password."""

    NAME: ClassVar[str] = "operator.passkey_used"
    passkey_id: PasskeyId


class OperatorPasskeySuspected(DomainEvent, frozen=True, kw_only=True):
    """A good signature came with a counter that had been used up: there may be a copy of the key
    (WebAuthn §6.1.1). Whoever showed it was refused."""

    NAME: ClassVar[str] = "operator.passkey_suspected"
    passkey_id: PasskeyId


OperatorEvent = (
    OperatorSeeded
    | OperatorInvited
    | OperatorInvitationMailed
    | OperatorAccepted
    | OperatorRoleChanged
    | OperatorSuspended
    | OperatorResumed
    | OperatorRemoved
    | OperatorPasswordSet
    | OperatorRecovered
    | OperatorTotpEnrolled
    | OperatorTotpRemoved
    | OperatorRecoveryCodesIssued
    | OperatorRecoveryCodeUsed
    | OperatorPasskeyAdded
    | OperatorPasskeyRenamed
    | OperatorPasskeyRemoved
    | OperatorPasskeyUsed
    | OperatorPasskeySuspected
)
