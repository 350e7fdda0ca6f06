"""Standing in for a silent product: whether this lane may open without it (design §2 row 20)."""

import re
from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any, Final, Literal, cast

import msgspec

from application.ports import AuthorizeFailure, RateLimiter
from domain.fail_mode import FailMode
from domain.ids import UserId
from domain.linked_service import LinkedService, StandIn, StandInWindow
from domain.transaction import ShadowVerdict, StandInReason

_INDEX: Final = re.compile(r"0|[1-9][0-9]*", re.ASCII)

_NETWORK: Final[dict[AuthorizeFailure, StandInReason]] = {
    "authorize_timeout": "authorize_timeout",
    "circuit_open": "circuit_open",
    "connect_error": "connect_error",
    "product_5xx": "product_5xx",
}


class StandInBudget(msgspec.Struct, frozen=True, kw_only=True):
    """How many more stand-ins a lane has in this minute and window, and for how much; None where
    that is not bounded."""

    minute_left: int
    window_left: int | None
    total_amount_left: str | None


class _Lane(msgspec.Struct, frozen=True):
    """What is stood in for, under which name it is counted, and within which bounds."""

    key: str
    fail_mode: FailMode
    bounds: StandIn


class StandIns:
    """The budgets of every linked service that fails open. Counters are shared, not durable."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter

    async def decide(
        self,
        service: LinkedService,
        failure: AuthorizeFailure,
        user_id: UserId,
        context: dict[str, Any],
    ) -> StandInReason | Literal["stand_in_limit"] | None:
        """The reason under which the lane opens, having counted it; `stand_in_limit` when its
        budget is used up, None when this failure never opens it.

        Only the network class qualifies: an active refusal never becomes an allow.
        """
        lane = _Lane(str(service.id), service.routing.fail_mode, service.routing.stand_in)
        return await self._judge(lane, failure, user_id, context)

    async def shadow(
        self,
        service: LinkedService,
        failure: AuthorizeFailure,
        user_id: UserId,
        context: dict[str, Any],
        *,
        may_open: bool,
    ) -> ShadowVerdict | None:
        """What the service's shadow policy would decide; None when it has none.

        It counts against budgets of its own, so that what is tried takes nothing from the lane.
        """
        policy = service.routing.shadow
        if policy is None:
            return None
        lane = _Lane(f"shadow:{service.id}", policy.fail_mode, policy.stand_in)
        reason = await self._judge(lane, failure, user_id, context) if may_open else None
        opens = reason not in (None, "stand_in_limit")
        return ShadowVerdict(
            would="allow" if opens else "deny",
            reason=reason,
            service_id=service.id,
            service_version=service.version,
        )

    async def _judge(
        self, lane: _Lane, failure: AuthorizeFailure, user_id: UserId, context: dict[str, Any]
    ) -> StandInReason | Literal["stand_in_limit"] | None:
        reason = _NETWORK.get(failure)
        if lane.fail_mode != "open" or reason is None:
            return None
        if reason not in lane.bounds.enabled_for:
            return None
        if await self._within_budget(lane, user_id, context):
            return reason
        return "stand_in_limit"

    async def budget(self, service: LinkedService) -> StandInBudget:
        """What is left of the lane's own bounds now; a person's are between them and us."""
        bounds = service.routing.stand_in
        window = bounds.per_window or StandInWindow()
        key = str(service.id)
        left = self._limiter.left
        count_left, total_left = None, None
        if window.count is not None:
            count_left = await left(
                "stand_in.window", key, limit=window.count, per_s=window.seconds
            )
        if window.total_amount is not None:
            limit = _thousandths(Decimal(window.total_amount))
            found = await left("stand_in.amount", key, limit=limit, per_s=window.seconds)
            total_left = str(Decimal(found) / 1000)
        return StandInBudget(
            minute_left=await left("stand_in.service", key, limit=bounds.per_minute, per_s=60),
            window_left=count_left,
            total_amount_left=total_left,
        )

    async def _within_budget(self, lane: _Lane, user_id: UserId, context: dict[str, Any]) -> bool:
        """Count one stand-in against amount, lane and person; False when any is used up.

        What was counted before a later bound refused stays counted: of those that come at the same
        moment fewer may pass than there is room for, and never more.
        """
        budget = lane.bounds
        amount = _at_risk(context, budget)
        if amount is None:
            return False
        person, per_hour = f"{lane.key}:{user_id}", budget.per_user_per_hour
        # The person is counted last, so that a lane without room costs nobody an hour's turn.
        return (
            await self._limiter.room("stand_in.user", person, limit=per_hour, per_s=3600)
            and await self._limiter.hit(
                "stand_in.service", lane.key, limit=budget.per_minute, per_s=60
            )
            and await self._within_window(lane, amount)
            and await self._limiter.hit("stand_in.user", person, limit=per_hour, per_s=3600)
        )

    async def _within_window(self, lane: _Lane, amount: Decimal) -> bool:
        window, key = lane.bounds.per_window, lane.key
        if window is None:
            return True
        if window.count is not None and not await self._limiter.hit(
            "stand_in.window", key, limit=window.count, per_s=window.seconds
        ):
            return False
        if window.total_amount is None:
            return True
        cost, limit = _thousandths(amount), _thousandths(Decimal(window.total_amount))
        if cost == 0:
            return True
        # More than the whole is refused here: it would not be a number to the counter.
        return cost <= limit and await self._limiter.hit(
            "stand_in.amount", key, limit=limit, per_s=window.seconds, cost=cost
        )


def _thousandths(amount: Decimal) -> int:
    """Rounded up, so that parts of the smallest coin cost no less than one."""
    return int((amount * 1000).to_integral_value(ROUND_CEILING))


def _at_risk(context: dict[str, Any], budget: StandIn) -> Decimal | None:
    """How much would be risked; None when it is too much, or when there is no telling."""
    if budget.amount_pointer is None:
        return Decimal(0)
    currency = _at(context, budget.currency_pointer)
    if budget.currency is not None and currency != budget.currency:
        return None
    amount = _amount(_at(context, budget.amount_pointer))
    return amount if amount is not None and amount <= Decimal(budget.max_amount) else None


def _at(context: dict[str, Any], pointer: str) -> object:
    """The value at a JSON pointer (RFC 6901), None when there is none."""
    value: Any = context  # untyped on purpose: the context is the product's, not ours
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            members = cast("dict[str, Any]", value)
        elif isinstance(value, list) and _INDEX.fullmatch(key):
            items = cast("Sequence[Any]", value)
            members = {str(index): item for index, item in enumerate(items)}
        else:
            return None
        value = members.get(key)
    return value


def _amount(value: object) -> Decimal | None:
    """What can be read as an amount: a decimal text or a number, finite and not negative."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and amount >= 0 else None
