"""What the workers do about templates: destroy those that have to go, give up what was abandoned.

Both are kinds of delivery (`application/ports/deliveries.py`): the engine leases each to one
worker at a time, and has it tried again with back-off for as long as it takes. They are never
given up, since a template that has to go must not be forgotten.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from application.palms.enrollment_endings import EnrollmentEndings
from application.palms.templates import Templates
from application.ports import (
    Attempted,
    Clock,
    Delivered,
    Delivery,
    DeliveryPolicy,
    EventLog,
    Owed,
    RetryLater,
    Settlement,
    Waits,
)
from application.principals import Caller
from domain import enrollment as e
from domain import tenant as t
from domain.events import DomainEvent, Recorded
from domain.ids import PalmRef, TenantId

PALM_VENDOR: Final = UUID("0c5c1f5e-0d1c-5b53-9a55-0d2b7a1f6c11")
"""There is one, of the operator's choice; it has no stream of its own."""

GIVEN_UP_AFTER: Final = timedelta(minutes=2)
"""Long after a request has ended, and after its repeats may have finished it."""

_FOR_EVER_S: Final = 100 * 365 * 86_400.0


class TemplateRemoval:
    """`template_removal`: the vendor destroys what has to go."""

    name = "template_removal"
    listens_to: tuple[type[DomainEvent], ...] = (
        e.EnrollmentRejected,
        e.EnrollmentFailed,
        e.EnrollmentTemplateArrivedLate,
        e.EnrollmentTemplateRemovalStarted,
    )
    policy = DeliveryPolicy(
        delays_s=(5.0, 30.0, 300.0, 1800.0, 3600.0, 6 * 3600.0),
        max_age_s=_FOR_EVER_S,
        in_flight_max=8,
        per_destination_max=4,
    )

    def __init__(self, log: EventLog, templates: Templates) -> None:
        self._log = log
        self._templates = templates

    async def owed(self, events: Sequence[Recorded]) -> Sequence[Owed]:
        return [
            Owed(event=recorded, destination=PALM_VENDOR, lane=recorded.stream_id)
            for recorded in events
            if _leaves_a_template(recorded.event)
        ]

    async def attempt(self, delivery: Delivery) -> Attempted:
        tenant = await _tenant(self._log, delivery.tenant_id)
        palm_ref = PalmRef(delivery.event.stream_id)
        came = await self._templates.remove(_worker(delivery), tenant, palm_ref)
        return Delivered() if came in ("removed", "nothing_to_remove") else RetryLater(came)

    async def settled(self, delivery: Delivery, settlement: Settlement) -> None:
        """Nothing is left to record: `Templates.remove` did, with the vendor's answer."""


class AbandonedEnrollments:
    """`abandoned_enrollment`: an enrolment whose process died is ended, and so cleaned up."""

    name = "abandoned_enrollment"
    listens_to: tuple[type[DomainEvent], ...] = (e.EnrollmentStarted,)
    policy = DeliveryPolicy(
        delays_s=(GIVEN_UP_AFTER.total_seconds(), 60.0), max_age_s=_FOR_EVER_S, in_flight_max=8
    )

    def __init__(self, log: EventLog, endings: EnrollmentEndings, clock: Clock) -> None:
        self._log = log
        self._endings = endings
        self._clock = clock

    async def owed(self, events: Sequence[Recorded]) -> Sequence[Owed]:
        return [
            Owed(event=recorded, destination=recorded.tenant_id, lane=recorded.stream_id)
            for recorded in events
        ]

    async def attempt(self, delivery: Delivery) -> Attempted:
        enrollment = e.rebuild(await self._log.load(delivery.tenant_id, delivery.event.stream_id))
        if enrollment is None or enrollment.status != "started":
            return Delivered()
        left = GIVEN_UP_AFTER - (self._clock.now() - delivery.event.recorded_at)
        if left > timedelta(0):
            return Waits(left.total_seconds(), holds=False)
        await self._endings.give_up(_worker(delivery), enrollment)
        return Delivered()

    async def settled(self, delivery: Delivery, settlement: Settlement) -> None:
        """Nothing is left to record: the enrolment has ended."""


def _leaves_a_template(event: DomainEvent) -> bool:
    match event:
        case e.EnrollmentRejected() | e.EnrollmentFailed():
            return event.template_left
        case _:
            return True


def _worker(delivery: Delivery) -> Caller:
    return Caller(
        tenant_id=delivery.tenant_id, actor="system:templates", correlation_id=delivery.id
    )


async def _tenant(log: EventLog, tenant_id: TenantId) -> t.Tenant:
    tenant = t.rebuild(await log.load(tenant_id, tenant_id))
    assert tenant is not None, "an enrolment belongs to a tenant"
    return tenant
