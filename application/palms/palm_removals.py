"""Taking a palm away from its person: refused at once, destroyed as soon as the vendor does it.

`user.palm_removal_started` is one commit with the release of the hand; from then on the palm is
nobody's, and the hand may be enrolled anew. The workers then have the vendor destroy the template
(`application/palms/template_removal.py`), and `user.palm_removed` says that it is done. A vendor
that fails, or cannot delete, leaves the palm visibly `removing` for as long as that lasts.

For whoever erases a person (seed 003; reference identity.md §4.3):

    1. make sure that nothing of the person can begin any more (an enrolment that begins later is
       not known here), and that nobody is still on the way to the vendor (`leave_running`: what is
       given up while it is under way arrives after the vendor was asked to destroy it);
    2. `await palm_removals.start_all(caller, user_id, "erasure")`: takes away every palm, and gives
       up every enrolment that has not ended. Safe to repeat; it says what is still at the vendor;
    3. ask `outstanding(tenant_id, user_id)` again and again: the templates of the person have gone
       when it is empty, and not before. The proof are the events `enrollment.template_removed`, one
       on the stream of each palm, with what the vendor answered.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec

from application.execute import Done, execute, stream_of
from application.palms.enrollment_endings import EnrollmentEndings
from application.palms.hand_claims import hand_claim
from application.ports import EventLog, IdSource, PersonPalms
from application.principals import Caller
from domain import claim as k
from domain import enrollment as e
from domain import user as u
from domain.errors import NotFound
from domain.events import Recorded, StreamAppend
from domain.ids import PalmRef, TenantId, UserId
from domain.palm import Hand, PalmRemovalReason

_enrollment: Final = stream_of(e.EnrollmentStarted, e.rebuild)
_user: Final = stream_of(u.UserSignedUp, u.rebuild)


class Palm(msgspec.Struct, frozen=True, kw_only=True):
    """A palm that is or was a person's. `removed_position` is where the log says that it went."""

    palm_ref: PalmRef
    user_id: UserId
    hand: Hand
    status: Literal["enrolled", "removing", "removed"]
    enrolled_at: datetime
    removal_reason: PalmRemovalReason | None = None
    removal_started_at: datetime | None = None
    removal_delayed_by: e.RemovalDelay | None = None
    removed_at: datetime | None = None
    removed_position: int | None = None
    vendor_answer: Literal["deleted", "absent"] | None = None
    attested: e.Attestation | None = None
    attested_under: str | None = None


class PalmRemovals:
    def __init__(
        self, log: EventLog, endings: EnrollmentEndings, palms: PersonPalms, ids: IdSource
    ) -> None:
        self._log = log
        self._endings = endings
        self._palms = palms
        self._ids = ids

    async def get(self, tenant_id: TenantId, user_id: UserId, palm_ref: PalmRef) -> Palm:
        """Raises NotFound (`palm_not_found`) for what never was this person's."""
        palm = _shown(await self._log.load(tenant_id, palm_ref))
        if palm is None or palm.user_id != user_id:
            raise NotFound("palm_not_found")
        return palm

    async def of(self, tenant_id: TenantId, user_id: UserId) -> Sequence[Palm]:
        """The palms that work or are about to go. Raises NotFound (`user_not_found`)."""
        user = _user(await self._log.load(tenant_id, user_id))
        if user is None:
            raise NotFound("user_not_found")
        return [await self.get(tenant_id, user_id, ref) for ref in (*user.palms, *user.leaving)]

    async def start(
        self, caller: Caller, user_id: UserId, palm_ref: PalmRef, reason: PalmRemovalReason
    ) -> tuple[Palm, Done | None]:
        """Take the palm away. Again, it says how far that has come; None when that is to its end.

        Raises NotFound (`palm_not_found`).
        """
        palm = await self.get(caller.tenant_id, user_id, palm_ref)
        if palm.status == "removed":
            return palm, None

        def decide(user: u.User | None) -> list[u.UserEvent]:
            assert user is not None, "the palm is this person's"
            return u.start_palm_removal(user, palm_ref, reason)

        async def beside() -> Sequence[StreamAppend]:
            return await self._taken_away(caller.tenant_id, palm_ref, reason)

        done = await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            caller.tenant_id,
            user_id,
            u.rebuild,
            decide,
            beside,
        )
        return await self.get(caller.tenant_id, user_id, palm_ref), done

    async def start_all(
        self,
        caller: Caller,
        user_id: UserId,
        reason: PalmRemovalReason,
        *,
        leave_running: bool = False,
    ) -> Sequence[PalmRef]:
        """Take away every palm, give up every enrolment; what the vendor may still have.

        `leave_running` leaves an enrolment to the request that may still be at it.
        """
        for enrollment in await self._of_person(caller.tenant_id, user_id):
            if enrollment.template == "kept":
                await self.start(caller, user_id, enrollment.id, reason)
            elif enrollment.status == "started" and not leave_running:
                await self._endings.give_up(caller, enrollment)
        return await self.outstanding(caller.tenant_id, user_id)

    async def outstanding(self, tenant_id: TenantId, user_id: UserId) -> Sequence[PalmRef]:
        """What the vendor may still have of the person, whether or not it ever worked."""
        return [
            enrollment.id
            for enrollment in await self._of_person(tenant_id, user_id)
            if enrollment.template not in ("none", "removed")
        ]

    async def _of_person(self, tenant_id: TenantId, user_id: UserId) -> Sequence[e.Enrollment]:
        found = [
            _enrollment(await self._log.load(tenant_id, palm_ref))
            for palm_ref in await self._palms.of_person(tenant_id, user_id)
        ]
        return [each for each in found if each is not None]

    async def _taken_away(
        self, tenant_id: TenantId, palm_ref: PalmRef, reason: PalmRemovalReason
    ) -> Sequence[StreamAppend]:
        enrollment = _enrollment(await self._log.load(tenant_id, palm_ref))
        assert enrollment is not None, "a person's palm was enrolled"
        stream = hand_claim(tenant_id, enrollment.started)
        claim = k.rebuild(await self._log.load(tenant_id, stream))
        assert claim is not None, "an enrolment that started claimed its hand"
        left: k.ClaimEvent = k.ClaimReleased(kind=k.PALM_HAND)
        if claim.owner is not None and claim.owner != palm_ref:
            # Another palm is about to take this one's place. Said again, so that an end of that
            # which is just giving the hand back to this palm meets another claim, and looks again.
            left = k.ClaimTaken(kind=k.PALM_HAND, owner=claim.owner)
        return (
            StreamAppend(
                tenant_id=tenant_id,
                stream_id=palm_ref,
                expected_version=enrollment.version,
                events=e.start_template_removal(enrollment, reason),
            ),
            StreamAppend(
                tenant_id=tenant_id,
                stream_id=stream,
                expected_version=claim.version,
                events=[left],
            ),
        )


def _shown(past: Sequence[Recorded]) -> Palm | None:
    """What the stream of a palm says; None for one that never worked."""
    enrollment = _enrollment(past)
    if enrollment is None or enrollment.status != "completed":
        return None
    palm: Palm | None = None
    for recorded in past:
        match recorded.event:
            case e.EnrollmentCompleted():
                palm = Palm(
                    palm_ref=enrollment.id,
                    user_id=enrollment.started.user_id,
                    hand=enrollment.started.hand,
                    status="enrolled",
                    enrolled_at=recorded.recorded_at,
                )
            case e.EnrollmentTemplateRemovalStarted() as event if palm is not None:
                palm = msgspec.structs.replace(
                    palm,
                    status="removing",
                    removal_reason=event.reason,
                    removal_started_at=recorded.recorded_at,
                )
            case e.EnrollmentTemplateRemovalDelayed() as event if palm is not None:
                palm = msgspec.structs.replace(palm, removal_delayed_by=event.reason)
            case e.EnrollmentTemplateRemoved() as event if palm is not None:
                palm = msgspec.structs.replace(
                    palm,
                    status="removed",
                    removal_delayed_by=None,
                    removed_at=recorded.recorded_at,
                    removed_position=recorded.position,
                    vendor_answer=event.vendor_answer,
                )
            case e.EnrollmentTemplateRemovalAttested() as event if palm is not None:
                palm = msgspec.structs.replace(
                    palm,
                    status="removed",
                    removal_delayed_by=None,
                    removed_at=recorded.recorded_at,
                    removed_position=recorded.position,
                    attested=event.reason,
                    attested_under=event.reference,
                )
            case _:
                pass
    return palm
