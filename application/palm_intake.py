"""One palm's way to the vendor: the intent, the template, the result, whatever dies in between.

The order is what makes a crash harmless: the intent and the claim on the hand are one commit,
then the vendor is asked under our own reference, then the result is committed. A retry with
the same key finds the intent and finishes it, once the first request must have ended. An
enrolment that nobody finishes is given up by the next one for the same hand.

Two people's enrolments of one palm at the same time: each gives the palm to the vendor and then
searches, so that at least the later one sees the other. Whoever completes ends the other's in the
same commit, so that the log lets exactly one of them through.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid5

import msgspec

from application.duplicates import Duplicates
from application.execute import retrying
from application.ports import (
    Clock,
    EventLog,
    IdSource,
    PalmQueryForbidden,
    PalmRejected,
    PalmVendorFailed,
    PalmVerifier,
    Scan,
    StaleStream,
)
from application.principals import Caller
from application.templates import Templates
from domain import claim as k
from domain import enrollment as e
from domain import tenant as t
from domain import user as u
from domain.erasure import erasure_id
from domain.errors import Conflict, Forbidden, Invalid, Refusal, Unavailable
from domain.events import DomainEvent, Recorded, StreamAppend
from domain.ids import ClaimId, PalmRef, TenantId, UserId, claim_id
from domain.matching import check_picture
from domain.palm import Hand

DEADLINE_S: Final = 5.0
LEASE: Final = timedelta(seconds=15)
"""Storing a template, searching once more and two commits: longer than a request is at it."""
ABANDONED_AFTER: Final = timedelta(seconds=30)


class Enrolled(msgspec.Struct, frozen=True, kw_only=True):
    palm_ref: PalmRef
    hand: Hand


class _Intake(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt. `version` is that of the enrolment's stream, and with it the fence."""

    caller: Caller
    tenant: t.Tenant
    palm_ref: PalmRef
    version: int
    started: e.EnrollmentStarted
    scan: Scan


class PalmIntake:
    def __init__(
        self,
        log: EventLog,
        palms: PalmVerifier,
        templates: Templates,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._palms = palms
        self._duplicates = Duplicates(log, palms)
        self._templates = templates
        self._clock = clock
        self._ids = ids

    async def take(
        self,
        caller: Caller,
        tenant: t.Tenant,
        started: e.EnrollmentStarted,
        scan: Scan,
        command_id: UUID | None,
    ) -> Enrolled:
        """Give the palm to the vendor and make it the person's, once for each command id.

        Raises Forbidden (`user_suspended`, `user_erased`), Conflict (`palm_already_enrolled`,
        `duplicate_palm`, `palm_type_not_allowed`, `request_in_progress`), Invalid (`low_quality`
        with hints, `liveness_failed`, `idempotency_key_reused`) and Unavailable
        (`palm_vendor_error`, `palm_vendor_timeout`).
        """
        if command_id is None:
            command_id = self._ids.uuid()
        palm_ref, past = await self._attempt(tenant.id, command_id, started)
        enrollment = e.rebuild(past)
        intake = _Intake(
            caller=caller,
            tenant=tenant,
            palm_ref=palm_ref,
            version=len(past),
            started=started,
            scan=scan,
        )
        if enrollment is None:
            check_picture(tenant.settings.match_policy, scan.quality, scan.liveness)
            await self._free_hand(intake)
            await self._refuse_duplicate(intake)
            await self._start(intake)
            return await self._finish(msgspec.structs.replace(intake, version=1))
        if enrollment.status == "completed":
            return Enrolled(palm_ref=palm_ref, hand=started.hand)
        if enrollment.rejected is not None:
            raise _refusal(enrollment.rejected)
        if self._clock.now() - past[-1].recorded_at < LEASE:
            raise _in_progress()
        await self._refuse_erased(intake)
        return await self._finish(intake)

    async def _attempt(
        self, tenant_id: TenantId, command_id: UUID, started: e.EnrollmentStarted
    ) -> tuple[PalmRef, Sequence[Recorded]]:
        """The first attempt under this key that has not failed, with what is known of it.

        A reference that failed is not used again, so each attempt has its own: they are numbered,
        and the last one is found by halving, however long a vendor has been failing.
        """

        async def load(number: int) -> tuple[PalmRef, Sequence[Recorded], bool]:
            palm_ref = PalmRef(uuid5(command_id, f"palm:{number}"))
            past = await self._log.load(tenant_id, palm_ref)
            held = e.rebuild(past)
            if held is not None and held.started != started:
                raise Invalid("idempotency_key_reused", "this key was used for another request")
            return palm_ref, past, held is not None and held.status == "failed"

        low, high = 0, 0
        while (await load(high))[2]:
            low, high = high + 1, 2 * high + 1
        while low < high:
            middle = (low + high) // 2
            if (await load(middle))[2]:
                low = middle + 1
            else:
                high = middle
        palm_ref, past, _ = await load(low)
        return palm_ref, past

    async def give_up(self, caller: Caller, enrollment: e.Enrollment) -> None:
        """End an enrolment that has started and not ended, whoever is still at it.

        Whoever is finds out when it wants to complete it, and has its template destroyed.
        """
        ended = e.EnrollmentFailed(reason="abandoned", template_left=True)
        command_id = self._ids.uuid()

        async def once() -> None:
            held = e.rebuild(await self._log.load(enrollment.tenant_id, enrollment.id))
            if held is None or held.status != "started":
                return
            appends = await self._ending(held.tenant_id, held.id, held.version, held.started, ended)
            await self._log.append(caller.origin(command_id), appends)

        await retrying(once)

    async def _free_hand(self, intake: _Intake) -> None:
        """Raises Conflict unless the hand is free, or was left behind by a crash."""
        past = await self._log.load(intake.tenant.id, hand_claim(intake.tenant.id, intake.started))
        claim = k.rebuild(past)
        if claim is None or claim.owner is None:
            return
        _refuse_taken_by_erasure(claim, intake.started.user_id)
        if claim.owner == intake.palm_ref:
            raise _in_progress()
        held = e.rebuild(await self._log.load(intake.tenant.id, claim.owner))
        assert held is not None, "a hand is claimed in the commit that starts its enrolment"
        age = self._clock.now() - past[-1].recorded_at
        if held.status != "started" or age < ABANDONED_AFTER:
            raise Conflict("palm_already_enrolled")
        await self.give_up(intake.caller, held)

    async def _refuse_duplicate(self, intake: _Intake) -> None:
        """Raises Conflict (`duplicate_palm`) for somebody else's palm, before the vendor keeps it
        twice. Says not whose it is."""
        try:
            alike = await self._duplicates.alike(intake.tenant, intake.scan)
        except PalmQueryForbidden as error:
            raise Conflict("palm_type_not_allowed") from error
        except PalmVendorFailed as error:
            raise Unavailable(error.reason, retry_after_s=1) from error
        others = await self._others(intake, alike)
        if all(other.status == "started" for other in others):
            return
        rejected = e.EnrollmentRejected(reason="duplicate_palm")
        await self._log.append(
            intake.caller.origin(self._ids.uuid()),
            [_on(intake.tenant.id, intake.palm_ref, 0, [intake.started, rejected])],
        )
        raise _refusal(rejected)

    async def _person(self, intake: _Intake) -> u.User:
        user = u.rebuild(await self._log.load(intake.tenant.id, intake.started.user_id))
        assert user is not None, "users are never removed from the log"
        return user

    async def _others(self, intake: _Intake, alike: Sequence[PalmRef]) -> Sequence[e.Enrollment]:
        return await self._duplicates.of_others(intake.tenant, alike, intake.started.user_id)

    async def _refuse_erased(self, intake: _Intake) -> None:
        """Before a palm goes to the vendor a second time. Raises Forbidden (`user_erased`)."""
        try:
            u.add_palm(await self._person(intake), intake.palm_ref, intake.started.hand)
        except Forbidden:
            await self._end(intake, e.EnrollmentFailed(reason="abandoned", template_left=True))
            raise

    async def _start(self, intake: _Intake) -> None:
        # Not the request's own command id: a second request with the key must not pass for this.
        command_id = self._ids.uuid()

        async def once() -> None:
            stream = hand_claim(intake.tenant.id, intake.started)
            claim = k.rebuild(await self._log.load(intake.tenant.id, stream))
            if claim is not None and claim.owner == intake.palm_ref:
                raise _in_progress()
            # After the claim was read: an erasure takes both hands in the commit of its request,
            # so what starts without having seen the one is refused by the other.
            u.serve(await self._person(intake))
            if claim is not None and claim.owner is not None:
                _refuse_taken_by_erasure(claim, intake.started.user_id)
                raise Conflict("palm_already_enrolled")
            taken = k.ClaimTaken(kind=k.PALM_HAND, owner=intake.palm_ref)
            await self._log.append(
                intake.caller.origin(command_id),
                [
                    _on(intake.tenant.id, intake.palm_ref, 0, [intake.started]),
                    _on(intake.tenant.id, stream, claim.version if claim else 0, [taken]),
                ],
            )

        await retrying(once)

    async def _finish(self, intake: _Intake) -> Enrolled:
        try:
            vendor_palm_id = await self._palms.enroll(
                intake.tenant.tenant_key, intake.palm_ref, intake.scan, deadline_s=DEADLINE_S
            )
            alike = await self._duplicates.alike(intake.tenant, intake.scan)
        except PalmRejected as error:
            rejected = e.EnrollmentRejected(reason=error.reason, hints=error.hints)
            await self._end(intake, rejected)
            raise _refusal(rejected) from error
        except PalmQueryForbidden as error:
            await self._end(
                intake, e.EnrollmentFailed(reason="palm_vendor_error", template_left=True)
            )
            raise Conflict("palm_type_not_allowed") from error
        except PalmVendorFailed as error:
            failed = e.EnrollmentFailed(
                reason=error.reason,
                vendor_code=error.vendor_code,
                vendor_message=error.vendor_message,
                template_left=True,
            )
            await self._end(intake, failed)
            raise Unavailable(error.reason, retry_after_s=1) from error
        await self._complete(intake, alike, e.EnrollmentCompleted(vendor_palm_id=vendor_palm_id))
        return Enrolled(palm_ref=intake.palm_ref, hand=intake.started.hand)

    async def _complete(
        self, intake: _Intake, alike: Sequence[PalmRef], completed: e.EnrollmentCompleted
    ) -> None:
        """Raises Conflict (`duplicate_palm`) when somebody else's enrolment was faster, Forbidden
        (`user_erased`) when the person is to be erased meanwhile."""

        async def once() -> bool:
            others = await self._others(intake, alike)
            if any(other.status == "completed" for other in others):
                return False
            user = await self._person(intake)
            appends = [
                _on(intake.tenant.id, intake.palm_ref, intake.version, [completed]),
                _on(
                    intake.tenant.id,
                    user.id,
                    user.version,
                    u.add_palm(user, intake.palm_ref, intake.started.hand),
                ),
            ]
            for other in others:
                rejected = e.EnrollmentRejected(reason="duplicate_palm", template_left=True)
                appends += await self._ending(
                    other.tenant_id, other.id, other.version, other.started, rejected
                )
            command_id = uuid5(intake.palm_ref, f"enrollment.complete:{intake.version}")
            await self._log.append(intake.caller.origin(command_id), appends)
            return True

        try:
            ours = await retrying(once)
        except StaleStream:
            await self._overtaken(intake)
            raise
        except Forbidden:
            # The erasure may have given this up already, and been told that there is no template.
            await self._end(intake, e.EnrollmentFailed(reason="abandoned", template_left=True))
            raise
        if not ours:
            rejected = e.EnrollmentRejected(reason="duplicate_palm", template_left=True)
            await self._end(intake, rejected)
            raise _refusal(rejected)

    async def _end(self, intake: _Intake, ended: e.EnrollmentRejected | e.EnrollmentFailed) -> None:
        """Close the enrolment and free the hand, in one commit, and have the template destroyed."""

        async def once() -> None:
            command_id = uuid5(intake.palm_ref, f"enrollment.end:{intake.version}")
            appends = await self._ending(
                intake.tenant.id, intake.palm_ref, intake.version, intake.started, ended
            )
            await self._log.append(intake.caller.origin(command_id), appends)

        try:
            await retrying(once)
        except StaleStream:
            await self._overtaken(intake)
            raise
        await self._templates.remove(intake.caller, intake.tenant, intake.palm_ref)

    async def _ending(
        self,
        tenant_id: TenantId,
        palm_ref: PalmRef,
        version: int,
        started: e.EnrollmentStarted,
        ended: e.EnrollmentRejected | e.EnrollmentFailed,
    ) -> list[StreamAppend]:
        """The end of an enrolment that has started, and the hand that it claimed set free."""
        stream = hand_claim(tenant_id, started)
        claim = k.rebuild(await self._log.load(tenant_id, stream))
        assert claim is not None, "an enrolment that started claimed its hand"
        released = k.ClaimReleased(kind=k.PALM_HAND)
        return [
            _on(tenant_id, palm_ref, version, [ended]),
            _on(tenant_id, stream, claim.version, [released]),
        ]

    async def _overtaken(self, intake: _Intake) -> None:
        """Somebody else has ended the enrolment, or finished it: what we stored must not stay.

        Returns only when nobody has. Raises what came of it otherwise.
        """
        held = e.rebuild(await self._log.load(intake.tenant.id, intake.palm_ref))
        assert held is not None, "it has started"
        if held.status == "started":
            return
        if held.status != "completed":
            await self._templates.arrived_late(intake.caller, intake.tenant, intake.palm_ref)
        raise _in_progress() if held.rejected is None else _refusal(held.rejected)


def _refusal(rejected: e.EnrollmentRejected) -> Refusal:
    if rejected.reason == "low_quality":
        return Invalid(rejected.reason, extra={"hints": list(rejected.hints)})
    return Conflict(rejected.reason)


def _in_progress() -> Conflict:
    return Conflict("request_in_progress", retry_after_s=int(LEASE.total_seconds()))


def _refuse_taken_by_erasure(claim: k.Claim, user_id: UserId) -> None:
    if claim.owner == erasure_id(user_id):
        raise Forbidden("user_erased")


def hand_claim(tenant_id: TenantId, started: e.EnrollmentStarted) -> ClaimId:
    """The stream that says which enrolment has this hand of this person."""
    return hand_of(tenant_id, started.user_id, started.hand)


def hand_of(tenant_id: TenantId, user_id: UserId, hand: Hand) -> ClaimId:
    return claim_id(tenant_id, k.PALM_HAND, f"{user_id}:{hand}")


def _on(
    tenant_id: TenantId, stream_id: UUID, expected_version: int, events: Sequence[DomainEvent]
) -> StreamAppend:
    return StreamAppend(
        tenant_id=tenant_id,
        stream_id=stream_id,
        expected_version=expected_version,
        events=events,
    )
