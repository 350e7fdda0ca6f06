"""Consent: a person at a device agrees to one purpose, in words that can be shown again.

One call is one purpose (PDPL art. 11; 004 diagram 4.4).
"""

from datetime import datetime

import msgspec

from application.admission import admitted
from application.execute import execute
from application.ports import Clock, EnrollmentGrants, EventLog, IdSource, Streams
from application.principals import DevicePrincipal
from domain import user as u
from domain.errors import Forbidden
from domain.ids import ConsentId, UserId


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
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._streams = streams
        self._grants = grants
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
    ) -> GrantedConsent:
        """Record that the person at this device agreed to one purpose.

        Raises Forbidden (`enrollment_not_granted`) unless the person proved a code here lately,
        and (`user_suspended`, `user_erased`).
        """
        tenant = await admitted(self._streams, device, "consent")
        now = self._clock.now()
        if not await self._grants.is_open(device.tenant_id, device.device_id, user_id, now):
            raise Forbidden("enrollment_not_granted")
        granted = u.UserConsentGranted(
            consent_id=ConsentId(self._ids.uuid()),
            consent_type=consent_type,
            consent_version=version,
            method="device_screen",
            locale=locale,
            text_sha256=text_sha256,
            device_id=device.device_id,
        )

        def decide(user: u.User | None) -> list[u.UserEvent]:
            assert user is not None, "a grant is only ever opened for a user"
            u.serve(user)
            return u.grant_consent(user, granted, current_version=tenant.settings.consent_version)

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
