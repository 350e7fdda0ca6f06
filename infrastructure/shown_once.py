"""What may be shown only once, remembered for all processes until it has run out."""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from domain.ids import TenantId
from infrastructure.database import Pool

MARGIN: Final = timedelta(minutes=5)
"""Kept beyond its end, since the clocks of processes and database differ."""

BATCH_MAX: Final = 200

_SHOW: Final[LiteralString] = "SELECT * FROM show_once(%s::uuid[], %s::bytea[], %s::timestamptz[])"


class _Shown(msgspec.Struct, frozen=True):
    tenant_id: TenantId
    digest: bytes
    until: datetime
    answer: "asyncio.Future[bool]"


class ShownOnce:
    """What arrives while the database is asked is asked together next."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: list[_Shown] = []
        self._asking: asyncio.Task[None] | None = None

    async def first_time(
        self, tenant_id: TenantId, kind: str, *parts: str, expires_at: datetime
    ) -> bool:
        """Whether nobody has shown this before; of many at once one is told so.

        Raises psycopg.Error: what cannot be remembered is not accepted.
        """
        digest = hashlib.sha256("\0".join((kind, *parts)).encode()).digest()
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Shown(tenant_id, digest, expires_at + MARGIN, answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_all(), name="shown once")
        return await answer

    async def _ask_all(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[:BATCH_MAX]
                del self._waiting[:BATCH_MAX]
                await self._ask(batch)
        finally:
            self._asking = None

    async def _ask(self, batch: Sequence[_Shown]) -> None:
        """Answer all of a batch, with what went wrong if something did."""
        try:
            first = await self._first_times(batch)
        except Exception as error:  # whatever it was, each of them waits to be told
            for each in batch:
                if not each.answer.done():
                    each.answer.set_exception(error)
            return
        for each in batch:
            key = (each.tenant_id, each.digest)
            if not each.answer.done():
                each.answer.set_result(key in first)
                first.discard(key)  # of the same thing twice in a batch only one is the first

    async def _first_times(self, batch: Sequence[_Shown]) -> set[tuple[UUID, bytes]]:
        asked = (
            [each.tenant_id for each in batch],
            [each.digest for each in batch],
            [each.until for each in batch],
        )
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SHOW, asked)).fetchall()
        return {(row[0], bytes(row[1])) for row in rows}
