"""Whether every read model says what a replay of the whole log says."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg import sql

from domain.catalogue import EVENTS, UPCASTERS
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.event_log.mapper import EventMapper
from infrastructure.projections.rebuild import rebuild
from projections.catalogue import READ_MODELS
from projections.read_model import ReadModel

CATCH_UP_S: Final = 60.0
_BEHIND: Final = """
    SELECT name FROM projection_positions
    WHERE position < (SELECT coalesce(max(position), 0) FROM events) OR halted_at IS NOT NULL
"""


async def stale_read_models(dsn: str) -> Sequence[str]:
    """The names of those that do not catch up with a quiet log, or differ once rebuilt from it."""
    behind = await _not_caught_up(dsn)
    log = await PostgresEventLog.open(dsn, EventMapper(EVENTS, UPCASTERS))
    try:
        different: list[str] = []
        for model in READ_MODELS:
            live = _digest(dsn, model)
            await rebuild(dsn, model, log)
            if _digest(dsn, model) != live:
                different.append(model.name)
    finally:
        await log.close()
    return sorted({*behind, *different})


async def _not_caught_up(dsn: str) -> Sequence[str]:
    deadline = time.monotonic() + CATCH_UP_S
    with psycopg.connect(dsn, autocommit=True) as connection:
        while True:
            behind = [row[0] for row in connection.execute(_BEHIND)]
            if not behind or time.monotonic() > deadline:
                return behind
            await asyncio.sleep(0.1)


def _digest(dsn: str, model: ReadModel) -> str:
    """Of every row of its tables, in an order that does not depend on how they came to be there."""
    total = hashlib.sha256()
    with psycopg.connect(dsn) as connection:
        for table in model.tables:
            rows = connection.execute(
                sql.SQL("SELECT t::text FROM {} AS t ORDER BY t::text").format(
                    sql.Identifier("read_models", table)
                )
            )
            for row in rows:
                total.update(row[0].encode() + b"\0")
    return total.hexdigest()
