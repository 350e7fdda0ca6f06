"""Templates that have to go, over the real log, in the hands of two engines."""

import asyncio
from collections import Counter
from typing import Final, Literal
from uuid import UUID, uuid4

from application.palms.template_removal import TemplateRemoval
from application.palms.templates import Templates
from application.ports import DeliveryPolicy, PalmVendorFailed
from domain.catalogue import EVENTS, UPCASTERS
from domain.ids import PalmRef, UserId
from infrastructure.clock import SystemClock
from infrastructure.delivery.engine import DeliveryEngine
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.event_log.mapper import EventMapper
from infrastructure.ids import RandomIds
from tests import builders
from tests.application.counterparts import Palms
from tests.application.hand_clock import HandClock
from tests.infrastructure.delivery.told import HASTY, rows, until_over
from tests.projections.stage import Stage
from tests.spec import TENANT

PALMS: Final = 4
FAILURES: Final = 3


async def _at_once() -> None:
    """Nobody waits for a turn."""


class Vendor(Palms):
    """Fails the first tries for every palm, and notes who is in its hands at the same time."""

    def __init__(self) -> None:
        super().__init__(HandClock(), [], _at_once)
        self.tries: Counter[PalmRef] = Counter()
        self.in_hand: Counter[PalmRef] = Counter()
        self.together = 0

    async def delete(
        self, tenant_key: str, palm_ref: PalmRef, *, deadline_s: float
    ) -> Literal["deleted", "absent", "not_supported"]:
        del tenant_key, deadline_s
        self.tries[palm_ref] += 1
        self.in_hand[palm_ref] += 1
        self.together = max(self.together, self.in_hand[palm_ref])
        await asyncio.sleep(0.01)  # As long as any vendor takes: room for another to come in.
        self.in_hand[palm_ref] -= 1
        if self.tries[palm_ref] <= FAILURES:
            raise PalmVendorFailed("palm_vendor_timeout")
        return "deleted"


class Hasty(TemplateRemoval):
    """Backs off for a moment only."""

    policy = DeliveryPolicy(delays_s=(0.01,), jitter=0.0, deadline_s=30.0, max_age_s=1e9)


async def leaving(stage: Stage) -> tuple[UserId, PalmRef]:
    """A person whose palm has just been taken away."""
    user_id, palm_ref = UserId(uuid4()), PalmRef(uuid4())
    await stage.record(
        user_id,
        builders.user_signed_up(),
        builders.user_palm_added(palm_ref=palm_ref),
        builders.user_palm_removal_started(palm_ref=palm_ref),
    )
    await stage.record(
        palm_ref,
        builders.enrollment_started(user_id=user_id),
        builders.enrollment_completed(),
        builders.enrollment_template_removal_started(),
    )
    return user_id, palm_ref


async def names(stage: Stage, stream_id: UUID) -> list[str]:
    return [each.event.NAME for each in await stage.log.load(TENANT, stream_id)]


async def test_two_processes_share_the_work_and_one_asks_at_a_time(stage: Stage) -> None:
    """Every palm goes once, after as many tries as the vendor wanted, and never two at once.

    Seen to fail without the lease: two workers had one palm in hand.
    """
    vendor, ids = Vendor(), RandomIds(SystemClock())
    await stage.record(TENANT, builders.tenant_created())
    other = await PostgresEventLog.open(stage.dsn, EventMapper(EVENTS, UPCASTERS))
    engines = [
        DeliveryEngine(stage.dsn, log, [Hasty(log, Templates(log, vendor, ids))], pace=HASTY)
        for log in (stage.log, other)
    ]
    try:
        async with engines[0], engines[1]:
            people = [await leaving(stage) for _ in range(PALMS)]
            await until_over(stage, PALMS)
    finally:
        await other.close()
    assert vendor.together == 1
    assert dict(vendor.tries) == {palm_ref: FAILURES + 1 for _, palm_ref in people}
    for user_id, palm_ref in people:
        assert (await names(stage, palm_ref))[2:] == [
            "enrollment.template_removal_started",
            "enrollment.template_removal_delayed",
            "enrollment.template_removed",
        ]
        assert (await names(stage, user_id))[-1] == "user.palm_removed"
    tried = await rows(stage, "SELECT reason FROM delivery_attempts WHERE outcome = 'retry'")
    assert {row["reason"] for row in tried} == {"palm_vendor_timeout"}
