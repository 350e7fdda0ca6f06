"""A lane that fails open: for a silent product only, within its budgets, never for a refusal."""

import asyncio
from typing import Any

import msgspec
import pytest

from application.ports import AuthorizeFailed, AuthorizeFailure
from application.transactions.stand_in import StandIns
from domain import linked_service as ls
from domain import transaction as x
from domain.linked_service import NetworkFailure, StandIn, StandInWindow
from infrastructure.rate_limits import InProcessRateLimiter
from tests import builders
from tests.application.world import (
    OTHER_PALM,
    OTHER_USER,
    TENANT_KEY,
    Killed,
    World,
    asking,
    kill,
    transaction,
)
from tests.builders import SERVICE

BEA = b"the palm of bea"

NETWORK: list[NetworkFailure] = [
    "authorize_timeout",
    "circuit_open",
    "connect_error",
    "product_5xx",
]
REFUSALS: list[AuthorizeFailure] = [
    "product_malformed",
    "assertion_rejected",
    "product_refused",
    "egress_blocked",
]


def open_lane(
    failure: AuthorizeFailure = "authorize_timeout", budget: StandIn | None = None
) -> World:
    """A world whose product fails in this way, on a lane that fails open."""
    world = World()
    world.routing(fail_mode="open", stand_in=budget or StandIn())
    world.product.says = AuthorizeFailed(failure, reached=True, detail="what happened")
    return world


async def outcome(world: World, number: int = 1, **request: Any) -> tuple[str, str | None, bool]:
    """Decision, reason and stand-in of the n-th transaction."""
    answer = (await world.transact(asking(key=f"till-4-{number:016}", **request))).answer
    return answer.decision, answer.reason, answer.stand_in


CLOSED = ("deny", "stand_in_limit", False)


async def test_a_device_cannot_open_a_lane_by_leaving_the_product_no_time() -> None:
    """500 ms in all leave 400 of the 800 that the product was promised; its silence is ours."""
    world = open_lane()
    assert await outcome(world, deadline_ms=500) == ("deny", "authorize_timeout", False)
    assert await outcome(world, 2, deadline_ms=3000) == ("allow", "authorize_timeout", True)


async def test_a_lane_stays_shut_when_an_attempt_that_died_may_have_heard_a_refusal() -> None:
    """Whoever died after the intent may have been told no; now the product is silent."""
    world = open_lane()
    world.log.after(x.TransactionAuthorizationRequested, kill)
    with pytest.raises(Killed):
        await world.transact()
    world.clock.advance(5.0)
    answer = (await world.transact()).answer
    assert (answer.decision, answer.stand_in) == ("deny", False)


def opened(reason: str = "authorize_timeout") -> tuple[str, str, bool]:
    return ("allow", reason, True)


@pytest.mark.parametrize("failure", NETWORK)
async def test_a_silent_product_is_stood_in_for_and_will_be_told(failure: NetworkFailure) -> None:
    world = open_lane(failure)
    answer = (await world.transact()).answer
    assert (answer.decision, answer.reason, answer.stand_in) == opened(failure)
    assert (answer.display_message, answer.product_reference, answer.ttl_seconds) == ("", None, 0)
    event = world.events(transaction())[-1]
    assert isinstance(event, x.TransactionFailedOpen)
    assert (event.reason, event.advice_needed, event.detail) == (failure, True, "what happened")
    assert event.authorize_ms == 0.0


@pytest.mark.parametrize("failure", REFUSALS)
async def test_a_refusal_never_becomes_an_allow(failure: AuthorizeFailure) -> None:
    world = open_lane(failure)
    assert (await outcome(world))[0] == "deny"
    assert "transaction.failed_open" not in [r.event.NAME for r in world.log.read_now()]


async def test_a_lane_that_fails_closed_does_not_open_whatever_its_budget() -> None:
    world = open_lane()
    world.routing(fail_mode="closed", stand_in=StandIn())
    assert await outcome(world) == ("deny", "authorize_timeout", False)


@pytest.mark.parametrize("failure", NETWORK)
async def test_each_kind_of_silence_can_be_left_out(failure: NetworkFailure) -> None:
    others: tuple[NetworkFailure, ...] = tuple(kind for kind in NETWORK if kind != failure)
    world = open_lane(failure, StandIn(enabled_for=others))
    assert await outcome(world) == ("deny", failure, False)


@pytest.mark.parametrize(
    ("context", "pointer", "opens"),
    [
        ({"amount": "100"}, "/amount", True),
        ({"amount": "100.00"}, "/amount", True),
        ({"amount": "100.01"}, "/amount", False),
        ({"amount": 100}, "/amount", True),
        ({"amount": 100.01}, "/amount", False),
        ({"amount": 1e300}, "/amount", False),
        ({}, "/amount", False),
        ({}, None, True),
        ({"amount": "500"}, None, True),
        ({"amount": "-1"}, "/amount", False),
        ({"amount": -1}, "/amount", False),
        ({"amount": "a lot"}, "/amount", False),
        ({"amount": "NaN"}, "/amount", False),
        ({"amount": "sNaN"}, "/amount", False),
        ({"amount": "Infinity"}, "/amount", False),
        ({"amount": True}, "/amount", False),
        ({"amount": None}, "/amount", False),
        ({"amount": {"value": "5"}}, "/amount", False),
        ({"amount": ["5"]}, "/amount", False),
        ({"amount": {"value": "5"}}, "/amount/value", True),
        ({"amount": {"value": "500"}}, "/amount/value", False),
        ({"amount": {"currency": "SAR"}}, "/amount/value", False),
        ({"a/b": {"c~d": "500"}}, "/a~1b/c~0d", False),
        ({"a/b": {"c~d": "5"}}, "/a~1b/c~0d", True),
        ({"~1": "500"}, "/~01", False),
        ({"lines": [{"amount": "500"}]}, "/lines/0/amount", False),
        ({"lines": [{"amount": "5"}, {"amount": "500"}]}, "/lines/1/amount", False),
        ({"lines": [{"amount": "5"}]}, "/lines/0/amount", True),
        ({"lines": []}, "/lines/0/amount", False),
        ({"lines": [{"amount": "5"}]}, "/lines/00/amount", False),
        ({"lines": [{"amount": "5"}]}, "/lines/-/amount", False),
        ({"lines": [{"amount": "5"}]}, "/lines/amount", False),
        ({"amount": "500"}, "/amount/value", False),
        ({"amount": "5"}, "", False),
    ],
)
async def test_the_amount_must_be_within_what_may_be_stood_in_for(
    context: dict[str, Any], pointer: str | None, opens: bool
) -> None:
    """What is absent or cannot be read as an amount never opens a lane; without a pointer nobody
    pays here. Seen to fail for `{}` where an absent amount counted as zero."""
    world = open_lane(budget=StandIn(amount_pointer=pointer))
    assert await outcome(world, context=context) == (opened() if opens else CLOSED)


async def test_over_the_budget_the_lane_closes_with_a_void_and_says_why() -> None:
    world = open_lane(budget=StandIn(max_amount="4.99"))
    assert await outcome(world) == CLOSED
    closed = world.events(transaction(f"till-4-{1:016}"))[-1]
    assert isinstance(closed, x.TransactionFailedClosed)
    assert (closed.void_needed, closed.detail) == (True, "authorize_timeout")


def _bea(world: World) -> None:
    world.given(OTHER_USER, builders.user_signed_up(), builders.user_consent_granted())
    world.given(
        OTHER_PALM,
        builders.enrollment_started(user_id=OTHER_USER),
        builders.enrollment_completed(),
    )
    world.palms.enrolled[TENANT_KEY, OTHER_PALM] = BEA


async def test_a_person_is_let_through_so_many_times_an_hour() -> None:
    world = open_lane(budget=StandIn(per_user_per_hour=2))
    _bea(world)
    assert [await outcome(world, n) for n in range(3)] == [opened(), opened(), CLOSED]
    assert await outcome(world, 3, palm=BEA) == opened()
    world.clock.advance(2 * 3600)
    assert await outcome(world, 4) == opened()


async def test_a_lane_lets_so_many_people_through_a_minute() -> None:
    world = open_lane(budget=StandIn(per_minute=2))
    _bea(world)
    assert [await outcome(world, n) for n in range(2)] == [opened(), opened()]
    assert await outcome(world, 3, palm=BEA) == CLOSED
    world.clock.advance(120)
    assert await outcome(world, 4, palm=BEA) == opened()


@pytest.mark.parametrize("budget", [StandIn(per_user_per_hour=0), StandIn(per_minute=0)])
async def test_a_budget_of_nothing_lets_nobody_through(budget: StandIn) -> None:
    assert await outcome(open_lane(budget=budget)) == CLOSED


async def test_a_budget_of_no_money_lets_through_what_costs_nothing() -> None:
    world = open_lane(budget=StandIn(max_amount="0"))
    assert await outcome(world) == CLOSED
    assert await outcome(world, 2, context={"amount": "0.00"}) == opened()
    assert await outcome(world, 3, context={"door": "main"}) == CLOSED


@pytest.mark.parametrize(
    ("context", "opens"),
    [
        ({"amount": "5", "currency": "SAR"}, True),
        ({"amount": "5", "currency": "KWD"}, False),
        ({"amount": "5"}, False),
        ({"amount": "5", "currency": None}, False),
    ],
)
async def test_five_of_another_currency_is_another_amount(
    context: dict[str, Any], opens: bool
) -> None:
    world = open_lane(budget=StandIn(max_amount="5", currency="SAR"))
    assert await outcome(world, context=context) == (opened() if opens else CLOSED)


async def test_a_currency_may_stand_anywhere() -> None:
    world = open_lane(budget=StandIn(currency="SAR", currency_pointer="/price/unit"))
    assert await outcome(world, context={"amount": "5", "price": {"unit": "SAR"}}) == opened()


async def test_a_lane_without_room_costs_nobody_their_turn_of_the_hour() -> None:
    """Seen to fail while the person was counted before the lane."""
    world = open_lane(budget=StandIn(per_user_per_hour=2, per_minute=1))
    assert await outcome(world) == opened()
    assert [await outcome(world, n) for n in range(2, 5)] == [CLOSED] * 3
    world.clock.advance(120)
    assert await outcome(world, 5) == opened()


async def test_a_person_without_a_turn_leaves_the_lane_its_room() -> None:
    world = open_lane(budget=StandIn(per_user_per_hour=1, per_minute=2))
    _bea(world)
    assert [await outcome(world, n) for n in range(3)] == [opened(), CLOSED, CLOSED]
    assert await outcome(world, 4, palm=BEA) == opened()


async def test_what_the_amount_refused_uses_up_nothing() -> None:
    world = open_lane(budget=StandIn(per_user_per_hour=1, per_minute=1))
    for number in range(3):
        assert await outcome(world, number, context={"amount": "500"}) == CLOSED
    assert await outcome(world, 4) == opened()


async def test_a_repeat_of_a_stand_in_uses_up_nothing() -> None:
    world = open_lane(budget=StandIn(per_user_per_hour=1))
    first = await world.transact()
    again = await world.transact()
    assert msgspec.json.encode(again.answer) == msgspec.json.encode(first.answer)
    assert again.answer.stand_in


def window(**bounds: Any) -> StandIn:
    return StandIn(per_user_per_hour=100, per_window=StandInWindow(seconds=600, **bounds))


async def test_a_lane_lets_so_many_through_a_window() -> None:
    world = open_lane(budget=window(count=2))
    assert [await outcome(world, n) for n in range(3)] == [opened(), opened(), CLOSED]
    world.clock.advance(1200)
    assert await outcome(world, 4) == opened()


async def test_a_lane_lets_so_much_through_a_window_to_the_last_coin() -> None:
    """The last one fits exactly; a thousandth more does not, nor does what is free cost any."""
    world = open_lane(budget=window(total_amount="10"))
    amounts = ["4.50", "5.499", "0.0011", "0.001", "0.001", "0"]
    said = [await outcome(world, n, context={"amount": a}) for n, a in enumerate(amounts)]
    assert said == [opened(), opened(), CLOSED, opened(), CLOSED, opened()]
    world.clock.advance(1200)
    assert await outcome(world, 9, context={"amount": "10"}) == opened()


async def test_what_is_more_than_the_whole_window_is_refused_however_much_it_is() -> None:
    budget = StandIn(max_amount="9" * 18, per_window=StandInWindow(total_amount="1"))
    world = open_lane(budget=budget)
    assert await outcome(world, context={"amount": "9" * 18}) == CLOSED


@pytest.mark.parametrize(
    ("budget", "passes"),
    [
        (window(count=7), 7),
        (window(total_amount="35"), 7),
        (StandIn(per_user_per_hour=7), 7),
        (StandIn(per_user_per_hour=100, per_minute=7), 7),
    ],
)
async def test_of_twenty_at_once_so_many_pass_as_the_budget_has(
    budget: StandIn, passes: int
) -> None:
    world = open_lane(budget=budget)
    said = await asyncio.gather(*(outcome(world, n) for n in range(20)))
    assert said.count(opened()) == passes
    assert said.count(CLOSED) == 20 - passes


async def test_it_is_shown_what_a_lane_has_left() -> None:
    world = open_lane(budget=window(count=3, total_amount="12.5"))
    await outcome(world)
    state = ls.rebuild(world.log.stream(SERVICE))
    assert state is not None
    left = await StandIns(world.limiter).budget(state)
    assert (left.minute_left, left.window_left, left.total_amount_left) == (49, 2, "7.5")


class LooksBeforeItCounts(InProcessRateLimiter):
    """The planted bug: asks whether there is room, and counts a moment later."""

    async def hit(self, budget: str, key: str, *, limit: int, per_s: int, cost: int = 1) -> bool:
        if not await self.room(budget, key, limit=limit, per_s=per_s):
            return False
        await asyncio.sleep(0)
        await super().hit(budget, key, limit=1_000_000, per_s=per_s, cost=cost)
        return True


async def test_a_budget_that_is_looked_at_before_it_is_counted_is_found_out() -> None:
    world = open_lane(budget=window(count=7))
    world.limiter = LooksBeforeItCounts(monotonic=world.clock.monotonic)
    said = await asyncio.gather(*(outcome(world, n) for n in range(20)))
    assert said.count(opened()) > 7


def shadowed(
    policy: ls.ShadowPolicy, failure: AuthorizeFailure = "authorize_timeout", **routing: Any
) -> World:
    """A world whose product fails in this way, with a policy that is tried without effect."""
    world = World()
    world.routing(shadow=policy, **routing)
    world.product.says = AuthorizeFailed(failure, reached=True, detail="what happened")
    return world


def verdicts(world: World) -> list[tuple[str, str | None] | None]:
    """What the shadow policy would have decided, decision by decision."""
    noted = [
        each.event.shadow
        for each in world.log.read_now()
        if isinstance(each.event, x.TransactionFailedClosed | x.TransactionFailedOpen)
    ]
    return [None if each is None else (each.would, each.reason) for each in noted]


async def test_a_shadow_policy_is_noted_and_changes_nothing() -> None:
    world = shadowed(ls.ShadowPolicy(fail_mode="open"), fail_mode="closed")
    assert await outcome(world) == ("deny", "authorize_timeout", False)
    assert verdicts(world) == [("allow", "authorize_timeout")]
    world = shadowed(ls.ShadowPolicy(fail_mode="closed"), fail_mode="open")
    assert await outcome(world) == ("allow", "authorize_timeout", True)
    assert verdicts(world) == [("deny", None)]


async def test_a_shadow_policy_has_budgets_of_its_own() -> None:
    """Seen to fail when both count under the lane's name: then the second is denied as well."""
    tight = StandIn(per_user_per_hour=1)
    policy = ls.ShadowPolicy(fail_mode="open", stand_in=tight)
    world = shadowed(policy, fail_mode="open", stand_in=StandIn(per_user_per_hour=2))
    said = [await outcome(world, number) for number in (1, 2, 3)]
    opened = ("allow", "authorize_timeout", True)
    assert said == [opened, opened, CLOSED]
    allowed = ("allow", "authorize_timeout")
    assert verdicts(world) == [allowed, ("deny", "stand_in_limit"), ("deny", "stand_in_limit")]


@pytest.mark.parametrize("failure", REFUSALS)
async def test_a_shadow_policy_never_makes_an_allow_of_a_refusal(
    failure: AuthorizeFailure,
) -> None:
    world = shadowed(ls.ShadowPolicy(fail_mode="open"), failure)
    await outcome(world)
    assert verdicts(world) == [("deny", None)]


async def test_a_shadow_policy_does_not_open_where_a_lane_may_not() -> None:
    world = shadowed(ls.ShadowPolicy(fail_mode="open"))
    await outcome(world, deadline_ms=500)
    assert verdicts(world) == [("deny", None)]


async def test_without_a_shadow_policy_nothing_is_noted() -> None:
    world = open_lane()
    await outcome(world)
    assert verdicts(world) == [None]
