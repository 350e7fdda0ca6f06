"""How often something may happen."""

from typing import Protocol


class RateLimiter(Protocol):
    async def hit(self, budget: str, key: str, *, limit: int, per_s: int) -> bool:
        """Count one and say whether it is within the budget; atomic across processes."""
        ...

    async def room(self, budget: str, key: str, *, limit: int, per_s: int) -> bool:
        """Whether one more would be within the budget, without counting it."""
        ...
