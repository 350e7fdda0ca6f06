"""The two rules that hold everything up: intent before the call, commit before the answer.

Both are read from one trace that the log, the product and the device write into. The same
assertion is shown to catch a broker that breaks a rule: behind its log, which says "done" before
it is, it acts exactly as one that does not wait for the commit.
"""

from collections.abc import Callable, Sequence

import pytest

from application.ports import AuthorizeFailed, PalmQueryForbidden
from domain import transaction as x
from domain.errors import Unavailable
from domain.events import DomainEvent
from tests import builders
from tests.application.doors import WriteBehind
from tests.application.world import World, asking
from tests.builders import USER

INTENT = "committed transaction.authorization_requested"


def assert_durable_before_it_leaves(trace: Sequence[str], decision: type[DomainEvent]) -> None:
    """Whatever leaves the house rests on what is committed already."""
    assert f"committed {decision.NAME}" in trace[: trace.index("answered")]
    if "asked the product" in trace:
        assert INTENT in trace[: trace.index("asked the product")]


async def test_the_intent_is_durable_before_the_call_and_the_decision_before_the_answer() -> None:
    world = World()
    await world.transact()
    assert world.trace == [
        "vendor identify",
        "committed transaction.received",
        "committed transaction.identified",
        INTENT,
        "asked the product",
        "committed transaction.allowed",
        "answered",
    ]
    assert_durable_before_it_leaves(world.trace, x.TransactionAllowed)


@pytest.mark.parametrize(
    "late", [x.TransactionAuthorizationRequested, x.TransactionAllowed], ids=lambda cls: cls.NAME
)
async def test_a_broker_that_does_not_wait_for_a_commit_is_caught(late: type[DomainEvent]) -> None:
    world = World()
    await world.transact(broker=world.broker(WriteBehind(world.log, late)))
    with pytest.raises(AssertionError):
        assert_durable_before_it_leaves(world.trace, x.TransactionAllowed)


def _unknown_palm(world: World) -> None:
    world.palms.enrolled.clear()


def _forbidden_palm(world: World) -> None:
    world.palms.identify_raises = PalmQueryForbidden()


def _suspended(world: World) -> None:
    world.given(USER, builders.user_suspended())


def _silent_product(world: World) -> None:
    world.product.says = AuthorizeFailed("connect_error", reached=False)


def _silent_product_of_an_open_lane(world: World) -> None:
    _silent_product(world)
    world.routing(fail_mode="open")


@pytest.mark.parametrize(
    ("arrange", "decision"),
    [
        (_unknown_palm, x.TransactionNotRecognized),
        (_forbidden_palm, x.TransactionForbidden),
        (_suspended, x.TransactionRefused),
        (_silent_product, x.TransactionFailedClosed),
        (_silent_product_of_an_open_lane, x.TransactionFailedOpen),
    ],
)
async def test_every_decision_is_durable_before_its_answer(
    arrange: Callable[[World], None], decision: type[DomainEvent]
) -> None:
    world = World()
    arrange(world)
    await world.transact()
    assert_durable_before_it_leaves(world.trace, decision)


async def test_a_failed_vendor_is_noted_before_the_device_hears_of_it() -> None:
    world = World()
    world.palms.takes_s = 9
    with pytest.raises(Unavailable, match="palm_vendor_timeout"):
        await world.transact(asking())
    assert world.trace == [
        "vendor identify",
        "committed transaction.received",
        "committed transaction.vendor_failed",
    ]
