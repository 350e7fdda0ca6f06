"""How an enrolment that has started ends without a palm.

It is closed and its hand set free in one commit, and then its template is destroyed, whoever ends
it: the request that is at it, the next one for the same hand, or a worker.
"""

from datetime import timedelta
from typing import Final
from uuid import uuid5

import msgspec

from application.execute import retrying
from application.palms.hand_claims import hand_claim
from application.palms.templates import Templates
from application.ports import EventLog, IdSource, StaleStream
from application.principals import Caller
from domain import claim as k
from domain import enrollment as e
from domain import tenant as t
from domain.errors import Conflict, Invalid, Refusal
from domain.events import StreamAppend
from domain.ids import PalmRef, TenantId

LEASE: Final = timedelta(seconds=15)
"""Storing a template, searching once more and two commits: longer than a request is at it."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody at work on an enrolment.

    `version` is that of the enrolment's stream, and with it the fence.
    """

    caller: Caller
    tenant: t.Tenant
    palm_ref: PalmRef
    version: int
    started: e.EnrollmentStarted


class EnrollmentEndings:
    def __init__(self, log: EventLog, templates: Templates, ids: IdSource) -> None:
        self._log = log
        self._templates = templates
        self._ids = ids

    async def end(self, attempt: Attempt, ended: e.EnrollmentRejected | e.EnrollmentFailed) -> None:
        """Close the enrolment and free the hand, in one commit, and have the template destroyed."""

        async def once() -> None:
            command_id = uuid5(attempt.palm_ref, f"enrollment.end:{attempt.version}")
            appends = await self.appends(
                attempt.tenant.id, attempt.palm_ref, attempt.version, attempt.started, ended
            )
            await self._log.append(attempt.caller.origin(command_id), appends)

        try:
            await retrying(once)
        except StaleStream:
            await self.overtaken(attempt)
            raise
        await self._templates.remove(attempt.caller, attempt.tenant, attempt.palm_ref)

    async def appends(
        self,
        tenant_id: TenantId,
        palm_ref: PalmRef,
        version: int,
        started: e.EnrollmentStarted,
        ended: e.EnrollmentRejected | e.EnrollmentFailed,
    ) -> list[StreamAppend]:
        """The end of an enrolment that has started, and the hand that it claimed set free, or given
        back to the palm that was to be replaced and works still."""
        stream = hand_claim(tenant_id, started)
        claim = k.rebuild(await self._log.load(tenant_id, stream))
        assert claim is not None, "an enrolment that started claimed its hand"
        # After the claim was read: a palm that is taken away meanwhile says its hand's claim again.
        freed: k.ClaimEvent = k.ClaimReleased(kind=k.PALM_HAND)
        if started.replaces is not None:
            replaced = e.rebuild(await self._log.load(tenant_id, started.replaces))
            if replaced is not None and replaced.template == "kept":
                freed = k.ClaimTaken(kind=k.PALM_HAND, owner=replaced.id)
        return [
            StreamAppend(
                tenant_id=tenant_id, stream_id=palm_ref, expected_version=version, events=[ended]
            ),
            StreamAppend(
                tenant_id=tenant_id,
                stream_id=stream,
                expected_version=claim.version,
                events=[freed],
            ),
        ]

    async def overtaken(self, attempt: Attempt) -> None:
        """Somebody else has ended the enrolment, or finished it: what we stored must not stay.

        Returns only when nobody has. Raises what came of it otherwise.
        """
        held = e.rebuild(await self._log.load(attempt.tenant.id, attempt.palm_ref))
        assert held is not None, "it has started"
        if held.status == "started":
            return
        if held.status != "completed":
            await self._templates.arrived_late(attempt.caller, attempt.tenant, attempt.palm_ref)
        raise in_progress() if held.rejected is None else refusal(held.rejected)

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
            appends = await self.appends(held.tenant_id, held.id, held.version, held.started, ended)
            await self._log.append(caller.origin(command_id), appends)

        await retrying(once)


def refusal(rejected: e.EnrollmentRejected) -> Refusal:
    """What whoever enrols is told of a palm that was not taken."""
    if rejected.reason == "low_quality":
        return Invalid(rejected.reason, extra={"hints": list(rejected.hints)})
    return Conflict(rejected.reason)


def in_progress() -> Conflict:
    """Somebody else is at it, for as long as a lease lasts."""
    return Conflict("request_in_progress", retry_after_s=int(LEASE.total_seconds()))
