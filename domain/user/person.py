"""User: a person of one tenant, what the person consented to, and which palms are theirs."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, Literal, TypeVar

import msgspec

from domain.errors import Conflict, Forbidden, Invalid, NotFound
from domain.events import Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import ClaimId, ConsentId, PalmRef, TenantId, UserId
from domain.palm import Hand, PalmRemovalReason
from domain.user.facts import (
    KycStatus,
    PersonalField,
    SuspensionReason,
    UserAccountLinked,
    UserAccountUnlinked,
    UserChanged,
    UserConsentGranted,
    UserConsentWithdrawn,
    UserErased,
    UserErasureStarted,
    UserEvent,
    UserKycChanged,
    UserPalmAdded,
    UserPalmRemovalStarted,
    UserPalmRemoved,
    UserPasswordRemoved,
    UserPasswordSet,
    UserResumed,
    UserSignedUp,
    UserSuspended,
)

K = TypeVar("K")
V = TypeVar("V")

UserStatus = Literal["active", "suspended", "erasing", "erased"]
ConsentStatus = Literal["none", "granted", "withdrawn", "outdated"]

PALM_ENROLLMENT: Final = "palm_enrollment"
_CONSENT_TYPE: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_KYC_LEVEL: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_STATUS_AFTER: Final[Mapping[type[UserEvent], UserStatus]] = {
    UserSuspended: "suspended",
    UserResumed: "active",
    UserErasureStarted: "erasing",
    UserErased: "erased",
}


class Consent(msgspec.Struct, frozen=True, kw_only=True):
    id: ConsentId
    version: str
    granted: bool


class User(msgspec.Struct, frozen=True, kw_only=True):
    """`palms` are those that work; `leaving` those whose template the vendor still has.

    `fields` is what the vault holds of the person. `claims` are the streams that keep an identifier
    or an account the person's alone; whoever signed up before they were noted has them all the
    same. `password_version` is the version at which the password was last set or given up.
    """

    id: UserId
    tenant_id: TenantId
    version: int
    status: UserStatus
    consents: Mapping[str, Consent]
    palms: Mapping[PalmRef, Hand]
    leaving: Mapping[PalmRef, Hand] = {}
    kyc_status: KycStatus = "none"
    kyc_level: str | None = None
    fields: frozenset[PersonalField] = frozenset()
    claims: Mapping[str, ClaimId] = {}
    password_set_at: datetime | None = None
    password_version: int = 0

    @property
    def has_password(self) -> bool:
        return self.password_set_at is not None

    def consent_status(self, consent_type: str, current_version: str) -> ConsentStatus:
        consent = self.consents.get(consent_type)
        if consent is None:
            return "none"
        if not consent.granted:
            return "withdrawn"
        return "granted" if consent.version == current_version else "outdated"


def sign_up(user: User | None, signed_up: UserSignedUp) -> list[UserEvent]:
    return [] if user is not None else [signed_up]


def change(user: User, changed: UserChanged) -> list[UserEvent]:
    """Say that the vault holds something else. Raises Forbidden (`user_erased`)."""
    _not_erased(user)
    return [changed] if changed.changed else []


def change_kyc(user: User, status: KycStatus, level: str | None) -> list[UserEvent]:
    """Raises Invalid (`kyc_level_invalid`), Forbidden (`user_erased`).

    Nobody has a level who is not verified, or was once.
    """
    _not_erased(user)
    if level is not None and _KYC_LEVEL.fullmatch(level) is None:
        raise Invalid("kyc_level_invalid", "a letter, then up to 31 of a-z, 0-9 and _")
    if level is not None and status not in ("verified", "expired"):
        raise Invalid("kyc_level_invalid", "only who is verified, or was, has a level")
    if (status, level) == (user.kyc_status, user.kyc_level):
        return []
    return [UserKycChanged(status=status, level=level)]


def grant_consent(
    user: User, granted: UserConsentGranted, *, current_version: str
) -> list[UserEvent]:
    """The same purpose and version again says nothing.

    Raises Invalid (`consent_type_invalid`), Conflict (`consent_version_outdated`).
    """
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
    return [UserConsentWithdrawn(consent_type=consent_type, consent_id=consent.id)]


def suspend(user: User, reason: SuspensionReason) -> list[UserEvent]:
    """Raises Forbidden (`user_erased`)."""
    _not_erased(user)
    return [UserSuspended(reason=reason)] if user.status == "active" else []


def resume(user: User) -> list[UserEvent]:
    """Raises Forbidden (`user_erased`)."""
    _not_erased(user)
    return [UserResumed()] if user.status == "suspended" else []


def add_palm(user: User, palm_ref: PalmRef, hand: Hand) -> list[UserEvent]:
    """Raises Forbidden (`user_erased`) for who is to be erased meanwhile."""
    _not_erased(user)
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


def _not_erased(user: User) -> None:
    if user.status in ("erasing", "erased"):
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
            fields=frozenset(recorded.event.fields),
            claims=recorded.event.claims,
        )
    if user is None:
        raise UnexpectedEvent(recorded.event)
    user = msgspec.structs.replace(user, version=recorded.version)
    replace = msgspec.structs.replace
    match recorded.event:
        case UserChanged() as event:
            return replace(user, fields=frozenset(event.fields), claims=event.claims)
        case (
            UserPasswordSet() | UserPasswordRemoved() | UserAccountLinked() | UserAccountUnlinked()
        ) as event:
            return _with_ways_in(user, event, recorded.recorded_at)
        case UserKycChanged() as event:
            return replace(user, kyc_status=event.status, kyc_level=event.level)
        case UserConsentGranted() as event:
            consent = Consent(id=event.consent_id, version=event.consent_version, granted=True)
            return replace(user, consents={**user.consents, event.consent_type: consent})
        case UserConsentWithdrawn() as event:
            consent = replace(user.consents[event.consent_type], granted=False)
            return replace(user, consents={**user.consents, event.consent_type: consent})
        case UserPalmAdded() | UserPalmRemovalStarted() | UserPalmRemoved() as event:
            return _with_palms(user, event)
        case UserSuspended() | UserResumed() | UserErasureStarted() | UserErased() as event:
            return replace(user, status=_STATUS_AFTER[type(event)])
        case other:
            raise UnexpectedEvent(other)


def _with_ways_in(
    user: User,
    event: UserPasswordSet | UserPasswordRemoved | UserAccountLinked | UserAccountUnlinked,
    at: datetime,
) -> User:
    replace = msgspec.structs.replace
    match event:
        case UserPasswordSet():
            return replace(user, password_set_at=at, password_version=user.version)
        case UserPasswordRemoved():
            return replace(user, password_set_at=None, password_version=user.version)
        case UserAccountLinked():
            return replace(user, claims={**user.claims, event.provider: event.claim})
        case UserAccountUnlinked():
            return replace(user, claims=_without(user.claims, event.provider))


def _with_palms(
    user: User, event: UserPalmAdded | UserPalmRemovalStarted | UserPalmRemoved
) -> User:
    replace = msgspec.structs.replace
    match event:
        case UserPalmAdded():
            return replace(user, palms={**user.palms, event.palm_ref: event.hand})
        case UserPalmRemovalStarted():
            return replace(
                user,
                palms=_without(user.palms, event.palm_ref),
                leaving={**user.leaving, event.palm_ref: user.palms[event.palm_ref]},
            )
        case UserPalmRemoved():
            return replace(user, leaving=_without(user.leaving, event.palm_ref))


def _without(held: Mapping[K, V], gone: K) -> Mapping[K, V]:
    return {key: value for key, value in held.items() if key != gone}


def rebuild(past: Iterable[Recorded]) -> User | None:
    return fold(evolve, past)
