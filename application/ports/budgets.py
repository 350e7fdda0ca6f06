"""How often something may happen."""

from typing import Protocol


class RateLimiter(Protocol):
    async def hit(self, budget: str, key: str, *, limit: int, per_s: int, cost: int = 1) -> bool:
        """Count `cost` and say whether it is within the budget; atomic across processes."""
        ...

    async def room(self, budget: str, key: str, *, limit: int, per_s: int) -> bool:
        """Whether one more would be within the budget, without counting it."""
        ...

    async def left(self, budget: str, key: str, *, limit: int, per_s: int) -> int:
        """How much of the budget is left, without counting anything."""
        ...
