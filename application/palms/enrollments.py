"""Enrolment at a device: a palm becomes a person's, with consent, once per hand (004 diagram 4.4).

Who may enrol is settled here; how the palm gets to the vendor in
`application/palms/palm_intake.py`.
"""

from application.admission import admitted
from application.palms.palm_intake import Enrolled, PalmIntake
from application.ports import Clock, EnrollmentGrants, EventLog, IdSource, Scan, Streams
from application.principals import DevicePrincipal
from domain import enrollment as e
from domain import tenant as t
from domain import user as u
from domain.errors import Forbidden
from domain.ids import UserId
from domain.palm import Hand


class Enrollments:
    def __init__(
        self,
        log: EventLog,
        streams: Streams,
        intake: PalmIntake,
        grants: EnrollmentGrants,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._streams = streams
        self._intake = intake
        self._grants = grants
        self._clock = clock
        self._ids = ids

    async def enroll(
        self,
        device: DevicePrincipal,
        user_id: UserId,
        hand: Hand,
        scan: Scan,
        key: str | None,
        *,
        replace: bool = False,
    ) -> Enrolled:
        """Give the palm to the vendor and make it the person's.

        Raises Forbidden (`enrollment_not_granted`, `user_suspended`, `consent_required`,
        `kyc_required`) and what `PalmIntake.take` raises.
        """
        tenant = await admitted(self._streams, device, "enroll")
        if not await self._grants.is_open(
            device.tenant_id, device.device_id, user_id, self._clock.now()
        ):
            raise Forbidden("enrollment_not_granted")
        user = u.rebuild(await self._log.load(device.tenant_id, user_id))
        assert user is not None, "a grant is only ever opened for a user"
        started = e.EnrollmentStarted(
            user_id=user_id,
            device_id=device.device_id,
            hand=hand,
            scan_sha256=scan.sha256,
            consent_version=consented(tenant, user),
            quality=scan.quality,
            liveness=scan.liveness,
            captured_at=scan.captured_at,
        )
        command_id = None
        if key is not None:
            command_id = device.command("enrollment.start", key, self._ids.uuid())
        return await self._intake.take(device, tenant, started, scan, command_id, replace=replace)


def consented(tenant: t.Tenant, user: u.User) -> str | None:
    """The version of the words that the person agreed to; None where none are needed.

    Who took a consent back is not enrolled, whether or not the tenant asks for one. Raises
    Forbidden (`user_suspended`, `user_erased`, `kyc_required`, `consent_required`).
    """
    settings = tenant.settings
    u.serve(user)
    if settings.kyc_required and user.kyc_status != "verified":
        raise Forbidden("kyc_required")
    consent = user.consent_status(u.PALM_ENROLLMENT, settings.consent_version)
    if consent == "withdrawn" or (settings.consent_required and consent != "granted"):
        raise Forbidden("consent_required", extra={"consent_status": consent})
    return settings.consent_version if consent == "granted" else None
