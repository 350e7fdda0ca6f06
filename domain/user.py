"""User: a person of one tenant, what the person consented to, and which palms are theirs.

Names, mobiles and e-mails are not here: they live in the personal-data vault (design §6). The
log knows the person by a pseudonymous id and by keyed digests that mean nothing outside.
"""

import re
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final, Literal

import msgspec

from domain.errors import Conflict, Forbidden, Invalid, NotFound
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import ConsentId, DeviceId, PalmRef, TenantId, UserId
from domain.palm import Hand, PalmRemovalReason

UserStatus = Literal["active", "suspended", "erasing", "erased"]
ConsentStatus = Literal["none", "granted", "withdrawn", "outdated"]
KycStatus = Literal["none", "verified"]
SuspensionReason = Literal["unspecified", "fraud_suspected", "requested", "under_review"]

PALM_ENROLLMENT: Final = "palm_enrollment"
_CONSENT_TYPE: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")


class UserSignedUp(DomainEvent, frozen=True, kw_only=True):
    """A person proved to hold a mobile number and is known from now on (design §2 row 7)."""

    NAME: ClassVar[str] = "user.signed_up"
    method: Literal["otp_sms", "otp_email"]
    device_id: DeviceId | None = None


class UserConsentGranted(DomainEvent, frozen=True, kw_only=True):
    """The person agreed to one purpose, in words that can be shown again (PDPL art. 11)."""

    NAME: ClassVar[str] = "user.consent_granted"
    consent_id: ConsentId
    consent_type: str
    consent_version: str
    method: Literal["device_screen"]
    locale: str
    text_sha256: str | None = None
    device_id: DeviceId | None = None


class UserConsentWithdrawn(DomainEvent, frozen=True, kw_only=True):
    """The person no longer agrees to this purpose."""

    NAME: ClassVar[str] = "user.consent_withdrawn"
    consent_type: str


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


class Consent(msgspec.Struct, frozen=True, kw_only=True):
    id: ConsentId
    version: str
    granted: bool


class User(msgspec.Struct, frozen=True, kw_only=True):
    """`palms` are those that work; `leaving` those whose template the vendor still has."""

    id: UserId
    tenant_id: TenantId
    version: int
    status: UserStatus
    consents: Mapping[str, Consent]
    palms: Mapping[PalmRef, Hand]
    leaving: Mapping[PalmRef, Hand] = {}
    kyc_status: KycStatus = "none"

    def consent_status(self, consent_type: str, current_version: str) -> ConsentStatus:
        consent = self.consents.get(consent_type)
        if consent is None:
            return "none"
        if not consent.granted:
            return "withdrawn"
        return "granted" if consent.version == current_version else "outdated"


def sign_up(user: User | None, signed_up: UserSignedUp) -> list[UserEvent]:
    return [] if user is not None else [signed_up]


def grant_consent(
    user: User, granted: UserConsentGranted, *, current_version: str
) -> list[UserEvent]:
    """The same purpose and version again says nothing."""
    if _CONSENT_TYPE.fullmatch(granted.consent_type) is None:
        raise Invalid("consent_type_invalid", "a letter, then up to 62 of a-z, 0-9 and _")
    if granted.consent_version != current_version:
        raise Conflict("consent_version_outdated", extra={"current": current_version})
    held = user.consent_status(granted.consent_type, current_version)
    return [] if held == "granted" else [granted]


def withdraw_consent(user: User, consent_type: str) -> list[UserEvent]:
    consent = user.consents.get(consent_type)
    if consent is None or not consent.granted:
        return []
    return [UserConsentWithdrawn(consent_type=consent_type)]


def suspend(user: User, reason: SuspensionReason) -> list[UserEvent]:
    return [UserSuspended(reason=reason)] if user.status == "active" else []


def resume(user: User) -> list[UserEvent]:
    return [UserResumed()] if user.status == "suspended" else []


def add_palm(user: User, palm_ref: PalmRef, hand: Hand) -> list[UserEvent]:
    """Raises Forbidden (`user_erased`) for who is to be erased meanwhile."""
    if user.status in ("erasing", "erased"):
        raise Forbidden("user_erased")
    return [] if palm_ref in user.palms else [UserPalmAdded(palm_ref=palm_ref, hand=hand)]


def start_palm_removal(user: User, palm_ref: PalmRef, reason: PalmRemovalReason) -> list[UserEvent]:
    """Raises NotFound (`palm_not_found`) for a palm that is not, or no longer, the person's."""
    if palm_ref in user.leaving:
        return []
    if palm_ref not in user.palms:
        raise NotFound("palm_not_found")
    return [UserPalmRemovalStarted(palm_ref=palm_ref, reason=reason)]


def finish_palm_removal(user: User, palm_ref: PalmRef) -> list[UserEvent]:
    return [UserPalmRemoved(palm_ref=palm_ref)] if palm_ref in user.leaving else []


def start_erasure(user: User) -> list[UserEvent]:
    """Withdraw every consent and refuse the person from now on; again, it says nothing."""
    if user.status in ("erasing", "erased"):
        return []
    withdrawn = [event for purpose in user.consents for event in withdraw_consent(user, purpose)]
    return [*withdrawn, UserErasureStarted()]


def finish_erasure(user: User) -> list[UserEvent]:
    return [UserErased()] if user.status == "erasing" else []


def serve(user: User) -> None:
    """Raises Forbidden (`user_suspended`, `user_erased`) unless the person is served."""
    if user.status == "suspended":
        raise Forbidden("user_suspended")
    if user.status != "active":
        raise Forbidden("user_erased")


def evolve(user: User | None, recorded: Recorded) -> User:
    if isinstance(recorded.event, UserSignedUp):
        return User(
            id=UserId(recorded.stream_id),
            tenant_id=recorded.tenant_id,
            version=recorded.version,
            status="active",
            consents={},
            palms={},
        )
    if user is None:
        raise UnexpectedEvent(recorded.event)
    user = msgspec.structs.replace(user, version=recorded.version)
    replace = msgspec.structs.replace
    match recorded.event:
        case UserConsentGranted() as event:
            consent = Consent(id=event.consent_id, version=event.consent_version, granted=True)
            return replace(user, consents={**user.consents, event.consent_type: consent})
        case UserConsentWithdrawn() as event:
            consent = replace(user.consents[event.consent_type], granted=False)
            return replace(user, consents={**user.consents, event.consent_type: consent})
        case UserSuspended():
            return replace(user, status="suspended")
        case UserResumed():
            return replace(user, status="active")
        case UserPalmAdded() as event:
            return replace(user, palms={**user.palms, event.palm_ref: event.hand})
        case UserPalmRemovalStarted() as event:
            return replace(
                user,
                palms=_without(user.palms, event.palm_ref),
                leaving={**user.leaving, event.palm_ref: user.palms[event.palm_ref]},
            )
        case UserPalmRemoved() as event:
            return replace(user, leaving=_without(user.leaving, event.palm_ref))
        case UserErasureStarted():
            return replace(user, status="erasing")
        case UserErased():
            return replace(user, status="erased")
        case other:
            raise UnexpectedEvent(other)


def _without(palms: Mapping[PalmRef, Hand], gone: PalmRef) -> Mapping[PalmRef, Hand]:
    return {palm_ref: hand for palm_ref, hand in palms.items() if palm_ref != gone}


def rebuild(past: Iterable[Recorded]) -> User | None:
    return fold(evolve, past)
