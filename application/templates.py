"""Templates that have to go: the vendor is asked to destroy them until it says that it did."""

from collections.abc import Callable, Sequence
from typing import Final, Literal

from application.execute import execute
from application.ports import EventLog, IdSource, PalmVendorFailed, PalmVerifier
from application.principals import Caller
from domain import enrollment as e
from domain import tenant as t
from domain.ids import PalmRef

DEADLINE_S: Final = 5.0


class Templates:
    def __init__(self, log: EventLog, palms: PalmVerifier, ids: IdSource) -> None:
        self._log = log
        self._palms = palms
        self._ids = ids

    async def remove(
        self, caller: Caller, tenant: t.Tenant, palm_ref: PalmRef
    ) -> Literal["removed", "delayed", "nothing_to_remove"]:
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
                caller, tenant, palm_ref, lambda held: e.delay_template_removal(held, delay)
            )
            return "delayed"
        await self._decide(caller, tenant, palm_ref, lambda held: e.remove_template(held, answer))
        return "removed"

    async def arrived_late(self, caller: Caller, tenant: t.Tenant, palm_ref: PalmRef) -> None:
        """The vendor got a palm whose enrolment has ended: it goes again."""
        await self._decide(caller, tenant, palm_ref, e.template_arrived_late)
        await self.remove(caller, tenant, palm_ref)

    async def _decide(
        self,
        caller: Caller,
        tenant: t.Tenant,
        palm_ref: PalmRef,
        decide: Callable[[e.Enrollment], Sequence[e.EnrollmentEvent]],
    ) -> None:
        def known(held: e.Enrollment | None) -> Sequence[e.EnrollmentEvent]:
            assert held is not None, "a template is only ever given under an enrolment"
            return decide(held)

        await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            tenant.id,
            palm_ref,
            e.rebuild,
            known,
        )
