"""User: what can happen to a person of a tenant, as the log keeps it.

Names, mobiles and e-mails are not here: they live in the personal-data vault (design §6). The
log knows the person by a pseudonymous id and by keyed digests that mean nothing outside.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from domain.events import DomainEvent
from domain.ids import ClaimId, ConsentId, DeviceId, PalmRef
from domain.palm import Hand, PalmRemovalReason

SignUpMethod = Literal["otp_sms", "otp_email", "google", "apple", "integrator"]
"""What made the person known; `integrator`: its backend vouches for who it is (003 §3.1)."""
ConsentMethod = Literal["device_screen", "app", "web", "paper"]
KycStatus = Literal["none", "pending", "verified", "rejected", "expired"]
SuspensionReason = Literal["unspecified", "fraud_suspected", "requested", "under_review"]
Provider = Literal["google", "apple"]
"""Who else knows the person, and vouches for it with ID tokens."""
PasswordSetBy = Literal["set", "changed", "reset"]
"""`reset` without knowing the one before, by a code that came to the person's e-mail address."""
PersonalField = Literal["name", "mobile", "email", "external_id"]
"""What the vault may hold of a person; the last three are each one person's in a tenant."""


class UserSignedUp(DomainEvent, frozen=True, kw_only=True):
    """A person is known from now on: proved to hold an address, or vouched for (design §2 row 7).

    `fields` names what the vault holds, and has no value; `claims` are the streams that keep
    mobile, e-mail and external id this person's alone, by the kind of claim.
    """

    NAME: ClassVar[str] = "user.signed_up"
    method: SignUpMethod
    device_id: DeviceId | None = None
    fields: tuple[PersonalField, ...] = ()
    claims: Mapping[str, ClaimId] = {}


class UserChanged(DomainEvent, frozen=True, kw_only=True):
    """The vault holds other values of these fields, or none any more.

    `fields` are all that it holds from now on, `changed` those that are others than before.
    """

    NAME: ClassVar[str] = "user.changed"
    changed: tuple[PersonalField, ...]
    fields: tuple[PersonalField, ...]
    claims: Mapping[str, ClaimId]


class UserPasswordSet(DomainEvent, frozen=True, kw_only=True):
    """The person signs in with this password from now on; its hash is in the vault."""

    NAME: ClassVar[str] = "user.password_set"
    by: PasswordSetBy


class UserPasswordRemoved(DomainEvent, frozen=True, kw_only=True):
    """The person has no password any more."""

    NAME: ClassVar[str] = "user.password_removed"


class UserAccountLinked(DomainEvent, frozen=True, kw_only=True):
    """The person signs in with an account at a provider from now on.

    `claim` is the stream that keeps the account this person's alone; its id is made of a keyed
    digest of what the provider calls the person.
    """

    NAME: ClassVar[str] = "user.account_linked"
    provider: Provider
    claim: ClaimId


class UserAccountUnlinked(DomainEvent, frozen=True, kw_only=True):
    """The person's account at a provider is no way in any more."""

    NAME: ClassVar[str] = "user.account_unlinked"
    provider: Provider
    claim: ClaimId


class UserKycChanged(DomainEvent, frozen=True, kw_only=True):
    """How far the person's identity is verified: `level` is a name of the tenant's own."""

    NAME: ClassVar[str] = "user.kyc_changed"
    status: KycStatus
    level: str | None = None


class UserConsentGranted(DomainEvent, frozen=True, kw_only=True):
    """The person agreed to one purpose, in words that can be shown again (PDPL art. 11).

    The words are in the vault and `text_commitment` stands for them; `text_sha256` is of words that
    the device keeps.
    """

    NAME: ClassVar[str] = "user.consent_granted"
    consent_id: ConsentId
    consent_type: str
    consent_version: str
    method: ConsentMethod
    locale: str
    text_sha256: str | None = None
    device_id: DeviceId | None = None
    text_commitment: str | None = None


class UserConsentWithdrawn(DomainEvent, frozen=True, kw_only=True):
    """The person no longer agrees to this purpose."""

    NAME: ClassVar[str] = "user.consent_withdrawn"
    consent_type: str
    consent_id: ConsentId | None = None


class UserSuspended(DomainEvent, frozen=True, kw_only=True):
    """The person is refused everywhere until resumed."""

    NAME: ClassVar[str] = "user.suspended"
    reason: SuspensionReason


class UserResumed(DomainEvent, frozen=True, kw_only=True):
    """The person is served again."""

    NAME: ClassVar[str] = "user.resumed"


class UserPalmAdded(DomainEvent, frozen=True, kw_only=True):
    """A palm at the vendor is this person's."""

    NAME: ClassVar[str] = "user.palm_added"
    palm_ref: PalmRef
    hand: Hand


class UserPalmRemovalStarted(DomainEvent, frozen=True, kw_only=True):
    """A palm is this person's no more: nobody is recognised by it from now on."""

    NAME: ClassVar[str] = "user.palm_removal_started"
    palm_ref: PalmRef
    reason: PalmRemovalReason


class UserPalmRemoved(DomainEvent, frozen=True, kw_only=True):
    """The vendor has destroyed the template of a palm that was this person's."""

    NAME: ClassVar[str] = "user.palm_removed"
    palm_ref: PalmRef


class UserErasureStarted(DomainEvent, frozen=True, kw_only=True):
    """The person is to be erased and is refused everywhere from now on, for good."""

    NAME: ClassVar[str] = "user.erasure_started"


class UserErased(DomainEvent, frozen=True, kw_only=True):
    """Nothing of the person is left but what names nobody."""

    NAME: ClassVar[str] = "user.erased"


UserEvent = (
    UserSignedUp
    | UserChanged
    | UserPasswordSet
    | UserPasswordRemoved
    | UserAccountLinked
    | UserAccountUnlinked
    | UserKycChanged
    | UserConsentGranted
    | UserConsentWithdrawn
    | UserSuspended
    | UserResumed
    | UserPalmAdded
    | UserPalmRemovalStarted
    | UserPalmRemoved
    | UserErasureStarted
    | UserErased
)
