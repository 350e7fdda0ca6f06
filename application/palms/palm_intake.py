"""One palm's way to the vendor: the intent, the template, the result, whatever dies in between.

The order is what makes a crash harmless: the intent and the claim on the hand are one commit,
then the vendor is asked under our own reference, then the result is committed. A retry with
the same key finds the intent and finishes it, once the first request must have ended. An
enrolment that nobody finishes is given up by the next one for the same hand.

A palm that takes another's place claims the hand as it starts, and the other one works until it is
completed: in that commit the other is taken away. An end gives the hand back.

Two people's enrolments of one palm at the same time: each gives the palm to the vendor and then
searches, so that at least the later one sees the other. Whoever completes ends the other's in the
same commit, so that the log lets exactly one of them through.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid5

import msgspec

from application.execute import retrying
from application.palms.duplicates import Duplicates
from application.palms.enrollment_endings import (
    LEASE,
    Attempt,
    EnrollmentEndings,
    in_progress,
    refusal,
)
from application.palms.hand_claims import hand_claim, refuse_taken_by_erasure
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
from domain import claim as k
from domain import enrollment as e
from domain import tenant as t
from domain import user as u
from domain.errors import Conflict, Forbidden, Invalid, Unavailable
from domain.events import DomainEvent, Recorded, StreamAppend
from domain.ids import PalmRef, TenantId
from domain.matching import check_picture
from domain.palm import Hand

DEADLINE_S: Final = 5.0
ABANDONED_AFTER: Final = timedelta(seconds=30)


class Enrolled(msgspec.Struct, frozen=True, kw_only=True):
    """A palm that works. `replaces` is the one that works no more for it."""

    palm_ref: PalmRef
    hand: Hand
    replaces: PalmRef | None = None


class _Intake(Attempt, frozen=True, kw_only=True):
    """An attempt, with the palm that it is about. `replace`: a palm of the hand may be there."""

    scan: Scan
    replace: bool


class PalmIntake:
    def __init__(
        self,
        log: EventLog,
        palms: PalmVerifier,
        endings: EnrollmentEndings,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._palms = palms
        self._duplicates = Duplicates(log, palms)
        self._endings = endings
        self._clock = clock
        self._ids = ids

    async def take(
        self,
        caller: Caller,
        tenant: t.Tenant,
        started: e.EnrollmentStarted,
        scan: Scan,
        command_id: UUID | None,
        *,
        replace: bool = False,
    ) -> Enrolled:
        """Give the palm to the vendor and make it the person's, once for each command id.

        With `replace` it takes the place of the palm that the person has of this hand, if any.
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
            started=started if enrollment is None else enrollment.started,
            scan=scan,
            replace=replace,
        )
        if enrollment is None:
            check_picture(tenant.settings.match_policy, scan.quality, scan.liveness)
            await self._free_hand(intake)
            await self._refuse_duplicate(intake)
            started = await self._start(intake)
            return await self._finish(msgspec.structs.replace(intake, version=1, started=started))
        if enrollment.status == "completed":
            return _enrolled(intake)
        if enrollment.rejected is not None:
            raise refusal(enrollment.rejected)
        if self._clock.now() - past[-1].recorded_at < LEASE:
            raise in_progress()
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
            if held is not None and _asked(held.started) != _asked(started):
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

    async def _free_hand(self, intake: _Intake) -> None:
        """Raises Conflict unless the hand is free, was left behind by a crash, or has a palm that
        is to be replaced."""
        past = await self._log.load(intake.tenant.id, hand_claim(intake.tenant.id, intake.started))
        claim = k.rebuild(past)
        if claim is None or claim.owner is None:
            return
        refuse_taken_by_erasure(claim, intake.started.user_id)
        if claim.owner == intake.palm_ref:
            raise in_progress()
        held = e.rebuild(await self._log.load(intake.tenant.id, claim.owner))
        assert held is not None, "a hand is claimed in the commit that starts its enrolment"
        if held.status == "completed" and intake.replace:
            return
        age = self._clock.now() - past[-1].recorded_at
        if held.status != "started" or age < ABANDONED_AFTER:
            raise Conflict("palm_already_enrolled")
        await self._endings.give_up(intake.caller, held)

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
        raise refusal(rejected)

    async def _person(self, intake: _Intake) -> u.User:
        user = u.rebuild(await self._log.load(intake.tenant.id, intake.started.user_id))
        assert user is not None, "users are never removed from the log"
        return user

    async def _others(self, intake: _Intake, alike: Sequence[PalmRef]) -> Sequence[e.Enrollment]:
        return await self._duplicates.of_others(intake.tenant, alike, intake.started.user_id)

    async def _replaced(self, intake: _Intake, user: u.User) -> list[StreamAppend]:
        """What happens to the palm whose place this one takes, in the same commit."""
        palm_ref = intake.started.replaces
        if palm_ref is None or palm_ref not in user.palms:
            return []
        replaced = e.rebuild(await self._log.load(intake.tenant.id, palm_ref))
        assert replaced is not None, "a person's palm was enrolled"
        events = e.start_template_removal(replaced, "replaced")
        return [_on(intake.tenant.id, palm_ref, replaced.version, events)]

    async def _refuse_erased(self, intake: _Intake) -> None:
        """Before a palm goes to the vendor a second time. Raises Forbidden (`user_erased`)."""
        try:
            u.add_palm(await self._person(intake), intake.palm_ref, intake.started.hand)
        except Forbidden:
            await self._endings.end(
                intake, e.EnrollmentFailed(reason="abandoned", template_left=True)
            )
            raise

    async def _start(self, intake: _Intake) -> e.EnrollmentStarted:
        # Not the request's own command id: a second request with the key must not pass for this.
        command_id = self._ids.uuid()

        async def once() -> e.EnrollmentStarted:
            stream = hand_claim(intake.tenant.id, intake.started)
            claim = k.rebuild(await self._log.load(intake.tenant.id, stream))
            if claim is not None and claim.owner == intake.palm_ref:
                raise in_progress()
            # After the claim was read: an erasure takes both hands in the commit of its request,
            # so what starts without having seen the one is refused by the other.
            u.serve(await self._person(intake))
            started = intake.started
            if claim is not None and claim.owner is not None:
                refuse_taken_by_erasure(claim, intake.started.user_id)
                held = e.rebuild(await self._log.load(intake.tenant.id, claim.owner))
                assert held is not None, "a hand is claimed in the commit that starts its enrolment"
                if not intake.replace or held.status == "started":
                    raise Conflict("palm_already_enrolled")
                if held.template != "kept":
                    raise StaleStream([stream])  # it was taken away since the claim was read
                started = msgspec.structs.replace(started, replaces=held.id)
            taken = k.ClaimTaken(kind=k.PALM_HAND, owner=intake.palm_ref)
            await self._log.append(
                intake.caller.origin(command_id),
                [
                    _on(intake.tenant.id, intake.palm_ref, 0, [started]),
                    _on(intake.tenant.id, stream, claim.version if claim else 0, [taken]),
                ],
            )
            return started

        return await retrying(once)

    async def _finish(self, intake: _Intake) -> Enrolled:
        try:
            vendor_palm_id = await self._palms.enroll(
                intake.tenant.tenant_key, intake.palm_ref, intake.scan, deadline_s=DEADLINE_S
            )
            alike = await self._duplicates.alike(intake.tenant, intake.scan)
        except PalmRejected as error:
            rejected = e.EnrollmentRejected(reason=error.reason, hints=error.hints)
            await self._endings.end(intake, rejected)
            raise refusal(rejected) from error
        except PalmQueryForbidden as error:
            await self._endings.end(
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
            await self._endings.end(intake, failed)
            raise Unavailable(error.reason, retry_after_s=1) from error
        await self._complete(intake, alike, e.EnrollmentCompleted(vendor_palm_id=vendor_palm_id))
        return _enrolled(intake)

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
            added = u.add_palm(user, intake.palm_ref, intake.started.hand)
            replaced = await self._replaced(intake, user)
            appends = [
                _on(intake.tenant.id, intake.palm_ref, intake.version, [completed]),
                *replaced,
                _on(
                    intake.tenant.id,
                    user.id,
                    user.version,
                    [*added, *_leaves(user, intake.started.replaces)],
                ),
            ]
            for other in others:
                rejected = e.EnrollmentRejected(reason="duplicate_palm", template_left=True)
                appends += await self._endings.appends(
                    other.tenant_id, other.id, other.version, other.started, rejected
                )
            command_id = uuid5(intake.palm_ref, f"enrollment.complete:{intake.version}")
            await self._log.append(intake.caller.origin(command_id), appends)
            return True

        try:
            ours = await retrying(once)
        except StaleStream:
            await self._endings.overtaken(intake)
            raise
        except Forbidden:
            # The erasure may have given this up already, and been told that there is no template.
            await self._endings.end(
                intake, e.EnrollmentFailed(reason="abandoned", template_left=True)
            )
            raise
        if not ours:
            rejected = e.EnrollmentRejected(reason="duplicate_palm", template_left=True)
            await self._endings.end(intake, rejected)
            raise refusal(rejected)


def _enrolled(intake: _Intake) -> Enrolled:
    started = intake.started
    return Enrolled(palm_ref=intake.palm_ref, hand=started.hand, replaces=started.replaces)


def _asked(started: e.EnrollmentStarted) -> e.EnrollmentStarted:
    """What was asked for, without what it found there."""
    return msgspec.structs.replace(started, replaces=None)


def _leaves(user: u.User, palm_ref: PalmRef | None) -> Sequence[u.UserEvent]:
    if palm_ref is None or palm_ref not in user.palms:
        return ()
    return u.start_palm_removal(user, palm_ref, "replaced")


def _on(
    tenant_id: TenantId, stream_id: UUID, expected_version: int, events: Sequence[DomainEvent]
) -> StreamAppend:
    return StreamAppend(
        tenant_id=tenant_id,
        stream_id=stream_id,
        expected_version=expected_version,
        events=events,
    )
