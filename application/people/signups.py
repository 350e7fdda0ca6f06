"""Sign-up at a device: prove a mobile, become a user (004 diagram 4.4).

Nothing is created before the one-time code comes back right, and the answer to a sign-up is
the same whether or not the mobile is known (design §2 row 7). A right code opens a grant for
exactly this device and this user; consent and enrolment demand it (row 6).
"""

from datetime import timedelta
from typing import Final

import msgspec

from application.admission import admitted
from application.people.newcomers import Newcomers
from application.people.one_time_codes import Budget, Challenged, OneTimeCodes
from application.ports import (
    Clock,
    Digests,
    EnrollmentGrants,
    OtpSender,
    PhoneNumbers,
    Streams,
)
from application.principals import DevicePrincipal
from domain import user as u
from domain.errors import Invalid
from domain.ids import ChallengeId, UserId
from domain.palm import Hand

GRANT_S: Final = 600
PER_MOBILE: Final = (3, 900)
PER_DEVICE: Final = (30, 3600)


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What a device needs to know next about the person in front of it."""

    user_id: UserId
    is_new_user: bool
    palms: tuple[Hand, ...]
    consent_status: u.ConsentStatus
    consent_version_required: str
    kyc_status: u.KycStatus
    enrollment_expires_in_s: int


class SignUps:
    def __init__(
        self,
        streams: Streams,
        codes: OneTimeCodes,
        newcomers: Newcomers,
        grants: EnrollmentGrants,
        sender: OtpSender,
        phone_numbers: PhoneNumbers,
        digests: Digests,
        clock: Clock,
    ) -> None:
        self._streams = streams
        self._codes = codes
        self._newcomers = newcomers
        self._grants = grants
        self._sender = sender
        self._phone_numbers = phone_numbers
        self._digests = digests
        self._clock = clock

    async def sign_up(self, device: DevicePrincipal, mobile: str, locale: str) -> Challenged:
        """Send a code. A repeat within half a minute sends nothing and answers the same.

        Raises Invalid (`mobile_invalid`, `mobile_country_not_allowed`), TooMany and Unavailable
        (`otp_not_sent`), after which a repeat sends again.
        """
        tenant = await admitted(self._streams, device, "sign_up")
        number = self._phone_numbers.normalise(mobile)
        allowed = tenant.settings.allowed_countries
        if allowed and self._phone_numbers.country(number) not in allowed:
            raise Invalid("mobile_country_not_allowed")
        return await self._codes.send(
            self._sender,
            device.tenant_id,
            device.device_id,
            number,
            locale,
            self._budgets(device, number),
        )

    async def verify(
        self, device: DevicePrincipal, challenge_id: ChallengeId, code: str
    ) -> Verified:
        """Prove the code. Creates the user if the mobile is new to the tenant.

        Raises NotFound (`challenge_not_found`, another device's too), Gone (`challenge_expired`),
        Invalid (`code_incorrect` with `attempts_left`), Conflict (`challenge_locked`) and, for who
        proved the code, Forbidden (`user_suspended`,
        `user_erased`).
        """
        tenant = await admitted(self._streams, device, "sign_up")
        attempt = await self._codes.prove(device.tenant_id, device.device_id, challenge_id, code)
        user, is_new = await self._newcomers.behind(
            device, challenge_id, attempt, "mobile", device.device_id
        )
        u.serve(user)
        await self._grants.open(
            device.tenant_id,
            device.device_id,
            user.id,
            self._clock.now() + timedelta(seconds=GRANT_S),
        )
        current = tenant.settings.consent_version
        return Verified(
            user_id=user.id,
            is_new_user=is_new,
            palms=tuple(sorted(set(user.palms.values()))),
            consent_status=user.consent_status(u.PALM_ENROLLMENT, current),
            consent_version_required=current,
            kyc_status=user.kyc_status,
            enrollment_expires_in_s=GRANT_S,
        )

    def _budgets(self, device: DevicePrincipal, number: str) -> list[Budget]:
        mobile = self._digests.digest("mobile", f"{device.tenant_id}:{number}")
        return [
            Budget("signup.device", str(device.device_id), *PER_DEVICE),
            Budget("signup.mobile", mobile, *PER_MOBILE),
        ]
