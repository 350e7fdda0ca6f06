"""Standing in for a silent product: whether this lane may open without it (design §2 row 20)."""

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, cast

from application.ports import AuthorizeFailure, RateLimiter
from domain.ids import UserId
from domain.linked_service import LinkedService, StandIn
from domain.transaction import StandInReason

_INDEX: Final = re.compile(r"0|[1-9][0-9]*", re.ASCII)

_NETWORK: Final[dict[AuthorizeFailure, StandInReason]] = {
    "authorize_timeout": "authorize_timeout",
    "circuit_open": "circuit_open",
    "connect_error": "connect_error",
    "product_5xx": "product_5xx",
}


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
        reason = _NETWORK.get(failure)
        if service.routing.fail_mode != "open" or reason is None:
            return None
        if reason not in service.routing.stand_in.enabled_for:
            return None
        if await self._within_budget(service, user_id, context):
            return reason
        return "stand_in_limit"

    async def _within_budget(
        self, service: LinkedService, user_id: UserId, context: dict[str, Any]
    ) -> bool:
        """Count one stand-in against amount, person and lane; False when any is used up."""
        budget = service.routing.stand_in
        if not _affordable(context, budget):
            return False
        person, per_hour = f"{service.id}:{user_id}", budget.per_user_per_hour
        # The person is counted last, so that a lane without room costs nobody an hour's turn.
        return (
            await self._limiter.room("stand_in.user", person, limit=per_hour, per_s=3600)
            and await self._limiter.hit(
                "stand_in.service", str(service.id), limit=budget.per_minute, per_s=60
            )
            and await self._limiter.hit("stand_in.user", person, limit=per_hour, per_s=3600)
        )


def _affordable(context: dict[str, Any], budget: StandIn) -> bool:
    """Whether this much may be risked; False as well when there is no telling how much it is."""
    if budget.amount_pointer is None:
        return True
    currency = _at(context, budget.currency_pointer)
    if budget.currency is not None and currency != budget.currency:
        return False
    amount = _amount(_at(context, budget.amount_pointer))
    return amount is not None and amount <= Decimal(budget.max_amount)


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
