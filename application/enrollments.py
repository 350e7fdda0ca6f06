"""Enrolment at a device: a palm becomes a person's, with consent, once per hand (004 diagram 4.4).

The order is what makes a crash harmless: the intent and the claim on the hand are one commit,
then the vendor is asked under our own reference, then the result is committed. A retry with
the same key finds the intent and finishes it, once the first request must have ended: two at
a time could take each other's template away. An enrolment that nobody finishes is given up by
the next one for the same hand.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid5

import msgspec

from application.admission import admitted
from application.duplicates import Duplicates
from application.execute import retrying
from application.ports import (
    Clock,
    EnrollmentGrants,
    EventLog,
    IdSource,
    PalmRejected,
    PalmVendorFailed,
    PalmVerifier,
    Scan,
    StaleStream,
    Streams,
)
from application.principals import DevicePrincipal
from domain import claim as k
from domain import enrollment as e
from domain import tenant as t
from domain import user as u
from domain.errors import (
    Conflict,
    Forbidden,
    Invalid,
    Refusal,
    Unavailable,
)
from domain.events import DomainEvent, StreamAppend
from domain.ids import PalmRef, TenantId, UserId, claim_id
from domain.matching import check_picture
from domain.palm import Hand

DEADLINE_S: Final = 5.0
LEASE: Final = timedelta(seconds=15)
"""Storing a template, taking it back and two commits: longer than a request can be at it."""
ABANDONED_AFTER: Final = timedelta(seconds=30)


class Enrolled(msgspec.Struct, frozen=True, kw_only=True):
    palm_ref: PalmRef
    hand: Hand


class Enrollments:
    def __init__(
        self,
        log: EventLog,
        streams: Streams,
        palms: PalmVerifier,
        grants: EnrollmentGrants,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._streams = streams
        self._palms = palms
        self._duplicates = Duplicates(streams, palms)
        self._grants = grants
        self._clock = clock
        self._ids = ids

    async def enroll(
        self, device: DevicePrincipal, user_id: UserId, hand: Hand, scan: Scan, key: str | None
    ) -> Enrolled:
        """Give the palm to the vendor and make it the person's.

        Raises Forbidden (`enrollment_not_granted`, `user_suspended`, `consent_required`,
        `kyc_required`), Conflict
        (`palm_already_enrolled`, `duplicate_palm`, `palm_type_not_allowed`,
        `request_in_progress`), Invalid (`low_quality` with hints, `liveness_failed`,
        `idempotency_key_reused`) and
        Unavailable (`palm_vendor_error`, `palm_vendor_timeout`).
        """
        tenant = await admitted(self._streams, device, "enroll")
        if not await self._grants.is_open(
            device.tenant_id, device.device_id, user_id, self._clock.now()
        ):
            raise Forbidden("enrollment_not_granted")
        user = u.rebuild(await self._log.load(device.tenant_id, user_id))
        assert user is not None, "a grant is only ever opened for a user"
        if user.status == "suspended":
            raise Forbidden("user_suspended")
        consent = user.consent_status(u.PALM_ENROLLMENT, tenant.settings.consent_version)
        if tenant.settings.kyc_required and user.kyc_status != "verified":
            raise Forbidden("kyc_required")
        if tenant.settings.consent_required and consent != "granted":
            raise Forbidden("consent_required", extra={"consent_status": consent})
        command_id = device.command("enrollment.start", key, self._ids.uuid())
        palm_ref = PalmRef(uuid5(command_id, "palm") if key is not None else self._ids.uuid())
        started = e.EnrollmentStarted(
            user_id=user_id,
            device_id=device.device_id,
            hand=hand,
            scan_sha256=scan.sha256,
            consent_version=tenant.settings.consent_version if consent == "granted" else None,
            quality=scan.quality,
            liveness=scan.liveness,
            captured_at=scan.captured_at,
        )
        past = await self._log.load(device.tenant_id, palm_ref)
        enrollment = e.rebuild(past)
        if enrollment is not None:
            if enrollment.started != started:
                raise Invalid("idempotency_key_reused", "this key was used for another request")
            if enrollment.status == "completed":
                return Enrolled(palm_ref=palm_ref, hand=hand)
            if enrollment.rejected is not None:
                raise _refusal(enrollment.rejected)
        version = 0 if enrollment is None else enrollment.version
        if enrollment is None or enrollment.status == "failed":
            check_picture(tenant.settings.match_policy, scan.quality, scan.liveness)
            await self._free_hand(device, tenant, palm_ref, started)
            await self._refuse_duplicate(device, tenant, palm_ref, version, started, scan)
            await self._start(device, palm_ref, version, started)
            version += 1
        elif self._clock.now() - past[-1].recorded_at < LEASE:
            raise _in_progress()
        return await self._finish(device, tenant, palm_ref, version, started, scan)

    async def _free_hand(
        self,
        device: DevicePrincipal,
        tenant: t.Tenant,
        palm_ref: PalmRef,
        started: e.EnrollmentStarted,
    ) -> None:
        """Raises Conflict unless the hand is free, or was left behind by a crash."""
        stream = _hand_claim(device.tenant_id, started)
        past = await self._log.load(device.tenant_id, stream)
        claim = k.rebuild(past)
        if claim is None or claim.owner is None:
            return
        if claim.owner == palm_ref:
            raise _in_progress()
        held = e.rebuild(await self._log.load(device.tenant_id, claim.owner))
        assert held is not None, "a hand is claimed in the commit that starts its enrolment"
        age = self._clock.now() - past[-1].recorded_at
        if held.status != "started" or age < ABANDONED_AFTER:
            raise Conflict("palm_already_enrolled")
        await self._delete_at_vendor(tenant, held.id)
        abandoned = e.EnrollmentFailed(reason="abandoned")
        await self._end(device, held.id, held.version, held.started, abandoned)

    async def _refuse_duplicate(
        self,
        device: DevicePrincipal,
        tenant: t.Tenant,
        palm_ref: PalmRef,
        version: int,
        started: e.EnrollmentStarted,
        scan: Scan,
    ) -> None:
        """A palm belongs to one person: raises Conflict (`duplicate_palm`) and says not whose."""
        if not tenant.settings.duplicate_palm_check:
            return
        for owner in await self._duplicates.owners(tenant, scan):
            if owner == started.user_id:
                continue
            rejected = e.EnrollmentRejected(reason="duplicate_palm")
            await self._log.append(
                device.origin(self._ids.uuid()),
                [_on(device.tenant_id, palm_ref, version, [started, rejected])],
            )
            raise _refusal(rejected)

    async def _start(
        self,
        device: DevicePrincipal,
        palm_ref: PalmRef,
        version: int,
        started: e.EnrollmentStarted,
    ) -> None:
        # Not the request's own command id: a second request with the key must not pass for this.
        command_id = self._ids.uuid()

        async def once() -> None:
            stream = _hand_claim(device.tenant_id, started)
            claim = k.rebuild(await self._log.load(device.tenant_id, stream))
            if claim is not None and claim.owner == palm_ref:
                raise _in_progress()
            if claim is not None and claim.owner is not None:
                raise Conflict("palm_already_enrolled")
            taken = k.ClaimTaken(kind=k.PALM_HAND, owner=palm_ref)
            await self._log.append(
                device.origin(command_id),
                [
                    _on(device.tenant_id, palm_ref, version, [started]),
                    _on(device.tenant_id, stream, claim.version if claim else 0, [taken]),
                ],
            )

        await retrying(once)

    async def _finish(
        self,
        device: DevicePrincipal,
        tenant: t.Tenant,
        palm_ref: PalmRef,
        version: int,
        started: e.EnrollmentStarted,
        scan: Scan,
    ) -> Enrolled:
        try:
            vendor_palm_id = await self._palms.enroll(
                tenant.tenant_key, palm_ref, scan, deadline_s=DEADLINE_S
            )
        except PalmRejected as error:
            rejected = e.EnrollmentRejected(reason=error.reason, hints=error.hints)
            await self._end(device, palm_ref, version, started, rejected)
            raise _refusal(rejected) from error
        except PalmVendorFailed as error:
            if len(await self._log.load(device.tenant_id, palm_ref)) > version:
                raise _in_progress() from error
            # The template may be there after all: try to take it back before giving up the hand.
            await self._delete_at_vendor(tenant, palm_ref)
            failed = e.EnrollmentFailed(
                reason=error.reason,
                vendor_code=error.vendor_code,
                vendor_message=error.vendor_message,
            )
            await self._end(device, palm_ref, version, started, failed)
            raise Unavailable(error.reason, retry_after_s=1) from error

        async def once() -> None:
            user = u.rebuild(await self._log.load(device.tenant_id, started.user_id))
            assert user is not None, "users are never removed from the log"
            await self._log.append(
                device.origin(uuid5(palm_ref, f"enrollment.complete:{version}")),
                [
                    _on(
                        device.tenant_id,
                        palm_ref,
                        version,
                        [e.EnrollmentCompleted(vendor_palm_id=vendor_palm_id)],
                    ),
                    _on(
                        device.tenant_id,
                        user.id,
                        user.version,
                        u.add_palm(user, palm_ref, started.hand),
                    ),
                ],
            )

        try:
            await retrying(once)
        except StaleStream:
            held = e.rebuild(await self._log.load(device.tenant_id, palm_ref))
            if held is not None and held.status == "failed":
                # Given up by somebody else meanwhile: what was stored must not stay.
                await self._delete_at_vendor(tenant, palm_ref)
            raise
        return Enrolled(palm_ref=palm_ref, hand=started.hand)

    async def _end(
        self,
        device: DevicePrincipal,
        palm_ref: PalmRef,
        version: int,
        started: e.EnrollmentStarted,
        ended: e.EnrollmentRejected | e.EnrollmentFailed,
    ) -> None:
        """Close the enrolment and free the hand, in one commit."""

        async def once() -> None:
            stream = _hand_claim(device.tenant_id, started)
            claim = k.rebuild(await self._log.load(device.tenant_id, stream))
            assert claim is not None, "an enrolment that started claimed its hand"
            released = k.ClaimReleased(kind=k.PALM_HAND)
            await self._log.append(
                device.origin(uuid5(palm_ref, f"enrollment.end:{version}")),
                [
                    _on(device.tenant_id, palm_ref, version, [ended]),
                    _on(device.tenant_id, stream, claim.version, [released]),
                ],
            )

        await retrying(once)

    async def _delete_at_vendor(self, tenant: t.Tenant, palm_ref: PalmRef) -> None:
        """Best effort: what stays behind can never match, because its enrolment has ended."""
        try:
            await self._palms.delete(tenant.tenant_key, palm_ref, deadline_s=DEADLINE_S)
        except PalmVendorFailed:
            return


def _refusal(rejected: e.EnrollmentRejected) -> Refusal:
    if rejected.reason == "low_quality":
        return Invalid(rejected.reason, extra={"hints": list(rejected.hints)})
    return Conflict(rejected.reason)


def _in_progress() -> Conflict:
    return Conflict("request_in_progress", retry_after_s=int(LEASE.total_seconds()))


def _hand_claim(tenant_id: TenantId, started: e.EnrollmentStarted) -> UUID:
    return claim_id(tenant_id, k.PALM_HAND, f"{started.user_id}:{started.hand}")


def _on(
    tenant_id: TenantId, stream_id: UUID, expected_version: int, events: Sequence[DomainEvent]
) -> StreamAppend:
    return StreamAppend(
        tenant_id=tenant_id,
        stream_id=stream_id,
        expected_version=expected_version,
        events=events,
    )
