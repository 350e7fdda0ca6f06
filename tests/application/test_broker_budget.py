"""Who gets how much of the device's time: the vendor, the product, and the way back."""

import pytest

from domain import transaction as x
from domain.errors import Unavailable
from tests.application.world import World, asking, transaction


@pytest.mark.parametrize(
    ("deadline_ms", "tenant_default_ms", "budget_s"),
    [
        (3000, 3000, 2.5),
        (10_000, 3000, 2.5),
        (2000, 3000, 1.6),
        (500, 3000, 0.1),
        (None, 1500, 1.1),
        (None, 3000, 2.5),
    ],
)
async def test_the_vendor_gets_its_limit_or_what_the_product_leaves(
    deadline_ms: int | None, tenant_default_ms: int, budget_s: float
) -> None:
    """Its limit is 2.5 s; 0.4 s of the device's time are the product's."""
    world = World()
    world.settings(default_deadline_ms=tenant_default_ms)
    await world.transact(asking(deadline_ms=deadline_ms))
    assert world.palms.budgets_s == [pytest.approx(budget_s)]


@pytest.mark.parametrize(
    ("identify_s", "timeout_ms", "budget_s"),
    [(0.0, 800, 0.8), (0.85, 800, 0.8), (2.4, 800, 0.5), (2.4, 300, 0.3), (0.0, 10_000, 2.9)],
)
async def test_the_product_gets_its_timeout_or_what_is_left_for_an_answer(
    identify_s: float, timeout_ms: int, budget_s: float
) -> None:
    """0.1 s of what is left are for the way back."""
    world = World()
    world.routing(timeout_ms=timeout_ms)
    world.palms.takes_s = identify_s
    await world.transact(asking(deadline_ms=3000))
    assert world.product.calls[0].deadline_s == pytest.approx(budget_s)


async def _slow_commit(world: World, seconds: float) -> None:
    """The intent takes so long to become durable."""

    async def wait() -> None:
        world.clock.advance(seconds)

    world.log.after(x.TransactionAuthorizationRequested, wait)


@pytest.mark.parametrize(("left_s", "asked"), [(0.049, False), (0.051, True), (-5.0, False)])
async def test_with_less_than_fifty_milliseconds_left_the_product_is_not_asked(
    left_s: float, asked: bool
) -> None:
    """Nothing left us, so there is nothing to void."""
    world = World()
    await _slow_commit(world, 3.0 - 0.1 - left_s)
    answer = (await world.transact(asking(deadline_ms=3000))).answer
    assert len(world.product.calls) == asked
    if not asked:
        assert (answer.decision, answer.reason) == ("deny", "authorize_timeout")
        closed = world.events(transaction())[-1]
        assert isinstance(closed, x.TransactionFailedClosed)
        assert (closed.void_needed, closed.detail) == (False, "no budget left")


async def test_a_vendor_that_takes_longer_than_its_share_is_a_timeout() -> None:
    world = World()
    world.palms.takes_s = 2.6
    with pytest.raises(Unavailable, match="palm_vendor_timeout"):
        await world.transact(asking(deadline_ms=10_000))
    assert world.clock.monotonic() == pytest.approx(1002.5)


async def test_the_lease_lasts_as_long_as_the_device_waits_and_two_seconds_more() -> None:
    world = World()
    world.palms.takes_s = 1.0
    await world.transact(asking(deadline_ms=3000))
    intent = world.events(transaction())[2]
    assert isinstance(intent, x.TransactionAuthorizationRequested)
    assert (intent.lease_until - world.clock.now()).total_seconds() == pytest.approx(4.0)
