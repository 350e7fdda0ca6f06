"""What may be shown only once, remembered for all processes until it has run out."""

import hashlib
from datetime import datetime, timedelta
from typing import Final, LiteralString

from domain.ids import TenantId
from infrastructure.database import Pool

MARGIN: Final = timedelta(minutes=5)
"""Kept beyond its end, since the clocks of processes and database differ."""

_SHOW: Final[LiteralString] = "SELECT show_once(%s, %s, %s)"


class ShownOnce:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def first_time(
        self, tenant_id: TenantId, kind: str, *parts: str, expires_at: datetime
    ) -> bool:
        """Whether nobody has shown this before; of many at once one is told so.

        Raises psycopg.Error: what cannot be remembered is not accepted.
        """
        digest = hashlib.sha256("\0".join((kind, *parts)).encode()).digest()
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SHOW, (tenant_id, digest, expires_at + MARGIN))
            row = await cursor.fetchone()
        return row is not None and bool(row[0])
