"""Consent: a person agrees to one purpose, in words that can be shown again, and may withdraw it.

One call is one purpose (PDPL art. 11; 004 diagram 4.4). Words that a device sends may name the
person, so they are in the vault; the event has a salted commitment to them. What is withdrawn is
withdrawn for the next transaction, identification and enrolment, whatever the settings say.
"""

import base64
import hashlib
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from application.admission import admitted
from application.execute import Done, execute, stream_of
from application.people.consent_types import ConsentTypes
from application.ports import (
    Clock,
    EnrollmentGrants,
    EventLog,
    IdSource,
    PersonalData,
    Streams,
)
from application.principals import Caller, DevicePrincipal
from domain import tenant as t
from domain import user as u
from domain.errors import Forbidden, Invalid, NotFound
from domain.ids import ConsentId, UserId
from domain.personal_fields import consent_text

_user: Final = stream_of(u.UserSignedUp, u.rebuild)


class _Salted(msgspec.Struct, frozen=True):
    """Words with the salt of their commitment, which goes with them: as the vault keeps both."""

    salt: str
    text: str

    @classmethod
    def of(cls, text: str) -> "_Salted":
        return cls(salt=secrets.token_hex(16), text=text)

    @property
    def kept(self) -> str:
        return msgspec.json.encode(self).decode()

    @property
    def commitment(self) -> str:
        """base64url of SHA-256 over the salt's bytes, `consent_text`, a zero byte, the words."""
        content = bytes.fromhex(self.salt) + b"consent_text\0" + self.text.encode()
        digest = hashlib.sha256(content).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """What a person agrees to: one purpose, one version, the words of one locale."""

    consent_type: str
    version: str
    locale: str
    text_sha256: str | None = None


class GrantedConsent(msgspec.Struct, frozen=True, kw_only=True):
    consent_id: ConsentId
    granted_at: datetime
    repeated: bool


class Consents:
    def __init__(
        self,
        log: EventLog,
        streams: Streams,
        types: ConsentTypes,
        grants: EnrollmentGrants,
        personal_data: PersonalData,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._streams = streams
        self._types = types
        self._grants = grants
        self._personal_data = personal_data
        self._clock = clock
        self._ids = ids

    async def grant(
        self,
        device: DevicePrincipal,
        user_id: UserId,
        *,
        consent_type: str,
        version: str,
        locale: str,
        text_sha256: str | None,
        text: str | None = None,
    ) -> GrantedConsent:
        """Record that the person at this device agreed to one purpose, and keep its words.

        Raises Forbidden (`enrollment_not_granted`) unless the person proved a code here lately,
        and (`user_suspended`, `user_erased`); Invalid (`consent_text_mismatch`) when the digest is
        not of the words; Conflict (`personal_key_destroyed`) for who is erased meanwhile.
        """
        salted = None
        if text is not None:
            if text_sha256 not in (None, hashlib.sha256(text.encode()).hexdigest()):
                raise Invalid("consent_text_mismatch", "text_sha256 is not of this text")
            text_sha256 = None  # a plain digest would let anybody try who was named
            salted = _Salted.of(text)
        await self._check_present(device, user_id)
        agreed = Agreement(
            consent_type=consent_type, version=version, locale=locale, text_sha256=text_sha256
        )
        granted, _ = await self._granted(device, user_id, agreed, "device_screen", salted)
        return granted

    async def grant_for(
        self, caller: Caller, user_id: UserId, agreed: Agreement, method: u.ConsentMethod
    ) -> tuple[GrantedConsent, Done]:
        """Record that a person agreed, in the words of the person's own app or of a backend.

        Raises NotFound (`user_not_found`), Forbidden (`user_suspended`, `user_erased`), Conflict
        (`consent_version_outdated`), Invalid (`consent_type_invalid`, `consent_text_mismatch`).
        """
        return await self._granted(caller, user_id, agreed, method, None)

    async def withdraw(self, caller: Caller, user_id: UserId, consent_type: str) -> Done:
        """Have the person agree no longer; again, it says nothing.

        Raises NotFound (`user_not_found`, `consent_not_found`), also for who never agreed. Whoever
        is suspended may withdraw.
        """

        def decide(state: u.User | None) -> Sequence[u.UserEvent]:
            user = _present(state)
            if consent_type not in user.consents:
                raise NotFound("consent_not_found")
            return u.withdraw_consent(user, consent_type)

        return await self._decided(caller, user_id, decide)

    async def withdraw_at(
        self, device: DevicePrincipal, user_id: UserId, consent_type: str
    ) -> Done:
        """The same, of the person at this device. Raises Forbidden (`enrollment_not_granted`)."""
        await self._check_present(device, user_id)
        return await self.withdraw(device, user_id, consent_type)

    async def _check_present(self, device: DevicePrincipal, user_id: UserId) -> None:
        await admitted(self._streams, device, "consent")
        now = self._clock.now()
        if not await self._grants.is_open(device.tenant_id, device.device_id, user_id, now):
            raise Forbidden("enrollment_not_granted")

    async def _granted(
        self,
        caller: Caller,
        user_id: UserId,
        agreed: Agreement,
        method: u.ConsentMethod,
        salted: _Salted | None,
    ) -> tuple[GrantedConsent, Done]:
        tenant = await self._streams.state(caller.tenant_id, caller.tenant_id, t.rebuild)
        assert tenant is not None, "a caller's tenant exists"
        asked = await self._types.asked(
            tenant, agreed.consent_type, agreed.locale, None if salted else agreed.text_sha256
        )
        granted = u.UserConsentGranted(
            consent_id=ConsentId(self._ids.uuid()),
            consent_type=agreed.consent_type,
            consent_version=agreed.version,
            method=method,
            locale=agreed.locale,
            text_sha256=None if salted else asked.text_sha256,
            device_id=caller.device_id if isinstance(caller, DevicePrincipal) else None,
            text_commitment=None if salted is None else salted.commitment,
        )

        def decide(state: u.User | None) -> list[u.UserEvent]:
            user = _present(state)
            u.serve(user)
            return u.grant_consent(user, granted, current_version=asked.version)

        if salted is not None and decide(_user(await self._log.load(caller.tenant_id, user_id))):
            # First the vault: a consent on record has its words.
            await self._personal_data.store(
                caller.tenant_id, user_id, consent_text(granted.consent_id), salted.kept
            )
        done = await self._decided(caller, user_id, decide)
        past = await self._log.load(caller.tenant_id, user_id)
        event, granted_at = [
            (recorded.event, recorded.recorded_at)
            for recorded in past
            if isinstance(recorded.event, u.UserConsentGranted)
            and recorded.event.consent_type == agreed.consent_type
        ][-1]
        found = GrantedConsent(
            consent_id=event.consent_id,
            granted_at=granted_at,
            repeated=event.consent_id != granted.consent_id,
        )
        return found, done

    async def _decided(
        self,
        caller: Caller,
        user_id: UUID,
        decide: Callable[[u.User | None], Sequence[u.UserEvent]],
    ) -> Done:
        origin = caller.origin(self._ids.uuid())
        return await execute(self._log, origin, caller.tenant_id, user_id, _user, decide)


def _present(user: u.User | None) -> u.User:
    if user is None:
        raise NotFound("user_not_found")
    return user
