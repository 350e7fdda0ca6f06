"""Consent: a person at a device agrees to one purpose, in words that can be shown again.

One call is one purpose (PDPL art. 11; 004 diagram 4.4). The words themselves may name the person,
so they are in the vault; the event has a salted commitment to them.
"""

import base64
import hashlib
import secrets
from datetime import datetime

import msgspec

from application.admission import admitted
from application.execute import execute
from application.ports import (
    Clock,
    EnrollmentGrants,
    EventLog,
    IdSource,
    PersonalData,
    Streams,
)
from application.principals import DevicePrincipal
from domain import user as u
from domain.errors import Forbidden, Invalid
from domain.ids import ConsentId, UserId
from domain.personal_fields import consent_text


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


class GrantedConsent(msgspec.Struct, frozen=True, kw_only=True):
    consent_id: ConsentId
    granted_at: datetime
    repeated: bool


class Consents:
    def __init__(
        self,
        log: EventLog,
        streams: Streams,
        grants: EnrollmentGrants,
        personal_data: PersonalData,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._streams = streams
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
        if text is not None:
            if text_sha256 not in (None, hashlib.sha256(text.encode()).hexdigest()):
                raise Invalid("consent_text_mismatch", "text_sha256 is not of this text")
            text_sha256 = None  # a plain digest would let anybody try who was named
        tenant = await admitted(self._streams, device, "consent")
        now = self._clock.now()
        if not await self._grants.is_open(device.tenant_id, device.device_id, user_id, now):
            raise Forbidden("enrollment_not_granted")
        consent_id = ConsentId(self._ids.uuid())
        salted = None if text is None else _Salted.of(text)
        granted = u.UserConsentGranted(
            consent_id=consent_id,
            consent_type=consent_type,
            consent_version=version,
            method="device_screen",
            locale=locale,
            text_sha256=text_sha256,
            device_id=device.device_id,
            text_commitment=None if salted is None else salted.commitment,
        )

        def decide(user: u.User | None) -> list[u.UserEvent]:
            assert user is not None, "a grant is only ever opened for a user"
            u.serve(user)
            return u.grant_consent(user, granted, current_version=tenant.settings.consent_version)

        if salted is not None:
            known = u.rebuild(await self._log.load(device.tenant_id, user_id))
            if decide(known):
                # First the vault: a consent on record has its words.
                await self._personal_data.store(
                    device.tenant_id, user_id, consent_text(consent_id), salted.kept
                )
        await execute(
            self._log,
            device.origin(self._ids.uuid()),
            device.tenant_id,
            user_id,
            u.rebuild,
            decide,
        )
        past = await self._log.load(device.tenant_id, user_id)
        event, granted_at = [
            (recorded.event, recorded.recorded_at)
            for recorded in past
            if isinstance(recorded.event, u.UserConsentGranted)
            and recorded.event.consent_type == consent_type
        ][-1]
        return GrantedConsent(
            consent_id=event.consent_id,
            granted_at=granted_at,
            repeated=event.consent_id != granted.consent_id,
        )
