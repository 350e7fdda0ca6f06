"""Standing in for a silent product: whether this lane may open without it (design §2 row 20)."""

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, cast

from application.ports import AuthorizeFailure, RateLimiter
from domain.ids import UserId
from domain.linked_service import LinkedService
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
        amount = _amount(context, budget.amount_pointer)
        if amount is None or amount > Decimal(budget.max_amount):
            return False
        per_user = await self._limiter.hit(
            "stand_in.user",
            f"{service.id}:{user_id}",
            limit=budget.per_user_per_hour,
            per_s=3600,
        )
        return per_user and await self._limiter.hit(
            "stand_in.service", str(service.id), limit=budget.per_minute, per_s=60
        )


def _amount(context: dict[str, Any], pointer: str) -> Decimal | None:
    """The amount at a JSON pointer (RFC 6901): zero when absent, None when there is no telling."""
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
        if key not in members:
            return Decimal(0)
        value = members[key]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and amount >= 0 else None
