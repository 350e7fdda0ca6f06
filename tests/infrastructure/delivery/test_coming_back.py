"""A destination that comes back is told at once what it missed, where its kind wants that."""

import asyncio

import pytest

from application.ports import Attempted, Delivered, Delivery, DeliveryPolicy, RetryLater
from tests.infrastructure.delivery.told import (
    Tell,
    change,
    delivering,
    rows,
    states,
    until,
    until_over,
)
from tests.infrastructure.projections.watching import register
from tests.projections.stage import PATIENCE_S, Stage

FAILING = "UPDATE delivery_destinations SET failing_since = now() - interval '1 h'"
OLDEST = """
    UPDATE deliveries SET due_at = now()
    WHERE id = (SELECT id FROM deliveries ORDER BY position LIMIT 1)"""


class Product:
    """Away until it is back, and then it takes everything."""

    def __init__(self) -> None:
        self.back = False

    async def __call__(self, _: Delivery) -> Attempted:
        return Delivered(200) if self.back else RetryLater("connect", None, 3000.0)


async def away(stage: Stage, tell: Tell, count: int) -> None:
    """So many deliveries have failed and wait for the next hour, all of one destination."""
    await register(stage, 0, count)
    await until(lambda: len(tell.arrived) == 1)
    held = "SELECT * FROM delivery_destinations WHERE hold_until > now()"
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if len(await states(stage)) == count and await rows(stage, held):
                break
            await asyncio.sleep(0.01)
    await change(stage, "UPDATE deliveries SET due_at = now() + interval '1 h'")
    await change(stage, FAILING)


async def one_is_due(stage: Stage) -> None:
    await change(stage, "UPDATE delivery_destinations SET hold_until = NULL")
    await change(stage, OLDEST)


@pytest.mark.parametrize("wakes", [True, False], ids=["wakes", "planted"])
async def test_the_first_that_arrives_after_an_outage_has_all_others_tried(
    stage: Stage, wakes: bool
) -> None:
    """Seen to fail without the waking: then the others stay where their back-off left them."""
    product = Product()
    policy = DeliveryPolicy(delays_s=(3000.0,), wakes=wakes, per_destination_max=1)
    tell = Tell(product, policy)
    async with delivering(stage, tell):
        await away(stage, tell, 5)
        product.back = True
        await one_is_due(stage)
        if wakes:
            await until_over(stage, 5)
            return
        await until(lambda: len(tell.settlements) == 1)
    waiting = await rows(stage, "SELECT * FROM deliveries WHERE state = 'pending'")
    assert len(waiting) == 4
