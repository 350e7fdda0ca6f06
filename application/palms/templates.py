"""Templates that have to go: the vendor is asked to destroy them until it says that it did.

That a template has to go is always in the log first: an enrolment ended and may have left one
(`template_left`), or a palm was taken away from its person
(`application/palms/palm_removals.py`). Here the vendor is asked once and what came of it is
recorded; `application/palms/template_removal.py` has it asked again.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal

from application.execute import execute, stream_of
from application.ports import EventLog, IdSource, PalmVendorFailed, PalmVerifier
from application.principals import Caller
from domain import enrollment as e
from domain import tenant as t
from domain import user as u
from domain.errors import NotFound
from domain.events import StreamAppend
from domain.ids import PalmRef

DEADLINE_S: Final = 5.0

_GONE: Final = (e.EnrollmentTemplateRemoved, e.EnrollmentTemplateRemovalAttested)
_enrollment: Final = stream_of(e.EnrollmentStarted, e.rebuild)

Removal = Literal["removed", "nothing_to_remove"] | e.RemovalDelay
"""What came of one try."""


class Templates:
    def __init__(self, log: EventLog, palms: PalmVerifier, ids: IdSource) -> None:
        self._log = log
        self._palms = palms
        self._ids = ids

    async def remove(self, caller: Caller, tenant: t.Tenant, palm_ref: PalmRef) -> Removal:
        """Ask the vendor once, and record what came of it.

        Safe to do twice, also at the same time: the reference of an enrolment that ended is
        never given to the vendor again, and the log takes one answer.
        """
        enrollment = e.rebuild(await self._log.load(tenant.id, palm_ref))
        if enrollment is None or enrollment.template != "removing":
            return "nothing_to_remove"
        delay: e.RemovalDelay = "not_supported"
        try:
            answer = await self._palms.delete(tenant.tenant_key, palm_ref, deadline_s=DEADLINE_S)
        except PalmVendorFailed as error:
            answer, delay = "not_supported", error.reason
        if answer == "not_supported":
            await self._decide(
                caller, enrollment, lambda held: e.delay_template_removal(held, delay)
            )
            return delay
        await self._decide(caller, enrollment, lambda held: e.remove_template(held, answer))
        return "removed"

    async def attest(
        self, caller: Caller, palm_ref: PalmRef, reason: e.Attestation, reference: str
    ) -> None:
        """Take somebody's word for it that a vendor which does not say so has it no more.

        Raises NotFound (`palm_not_found`), Conflict (`template_removal_not_delayed`) and Invalid
        (`reference_invalid`).
        """
        enrollment = _enrollment(await self._log.load(caller.tenant_id, palm_ref))
        if enrollment is None:
            raise NotFound("palm_not_found")
        await self._decide(
            caller, enrollment, lambda held: e.attest_template_removal(held, reason, reference)
        )

    async def arrived_late(self, caller: Caller, tenant: t.Tenant, palm_ref: PalmRef) -> None:
        """The vendor got a palm whose enrolment has ended: it goes again."""
        enrollment = e.rebuild(await self._log.load(tenant.id, palm_ref))
        assert enrollment is not None, "a palm is only ever given under an enrolment"
        await self._decide(caller, enrollment, e.template_arrived_late)
        await self.remove(caller, tenant, palm_ref)

    async def _decide(
        self,
        caller: Caller,
        enrollment: e.Enrollment,
        decide: Callable[[e.Enrollment], Sequence[e.EnrollmentEvent]],
    ) -> None:
        decided: Sequence[e.EnrollmentEvent] = ()

        def known(held: e.Enrollment | None) -> Sequence[e.EnrollmentEvent]:
            nonlocal decided
            assert held is not None, "events are never removed from the log"
            decided = decide(held)
            return decided

        async def beside() -> Sequence[StreamAppend]:
            if not any(isinstance(event, _GONE) for event in decided):
                return ()
            return await self._gone_from_person(enrollment)

        await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            enrollment.tenant_id,
            enrollment.id,
            e.rebuild,
            known,
            beside,
        )

    async def _gone_from_person(self, enrollment: e.Enrollment) -> Sequence[StreamAppend]:
        """The end of the saga on the person's side, when the palm had been the person's."""
        user = u.rebuild(await self._log.load(enrollment.tenant_id, enrollment.started.user_id))
        assert user is not None, "users are never removed from the log"
        events = u.finish_palm_removal(user, enrollment.id)
        if not events:
            return ()
        return (
            StreamAppend(
                tenant_id=user.tenant_id,
                stream_id=user.id,
                expected_version=user.version,
                events=events,
            ),
        )
