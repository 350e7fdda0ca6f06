"""Which read models stand still, told cheaply to whoever asks often."""

import time
from collections.abc import Callable, Sequence
from typing import Final

from infrastructure.database import Pool

_HALTED: Final = """
    SELECT name FROM public.projection_positions
    WHERE halted_at IS NOT NULL OR tenants_halted > 0 ORDER BY name
"""


class ProjectionHealth:
    """One question to the database serves all who ask within `fresh_s`."""

    def __init__(
        self, pool: Pool, *, fresh_s: float = 1.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`pool` may be of either role; link_app may read positions too."""
        self._pool = pool
        self._fresh_s = fresh_s
        self._monotonic = monotonic
        self._asked_at: float | None = None
        self._halted: Sequence[str] = ()

    async def halted(self) -> Sequence[str]:
        """The names of read models that stand still for everybody or for some tenant.

        Raises psycopg.Error, psycopg_pool.PoolTimeout.
        """
        now = self._monotonic()
        if self._asked_at is None or now - self._asked_at > self._fresh_s:
            self._asked_at = now
            async with self._pool.connection() as connection:
                cursor = await connection.execute(_HALTED)
                self._halted = [name for (name,) in await cursor.fetchall()]
        return self._halted
