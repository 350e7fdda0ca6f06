"""A reader that follows the log misses nothing, however late a writer commits.

Writers hold their transactions open for random times after they have appended, so that the
order of appending and the order of committing would differ if nothing forbade it.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import LiteralString
from uuid import uuid4

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from infrastructure.database import APP_ROLE, PROJECTOR_ROLE, acting_as
from infrastructure.event_log.positions import READ
from tests.infrastructure.event_log.notes import A

WRITERS = 6
APPENDS_EACH = 12
DELAY_MAX_S = 0.01

APPEND: LiteralString = (
    "SELECT first_position FROM append_events(ARRAY[0], ARRAY[%(tenant)s::uuid], "
    "ARRAY[%(stream)s::uuid], ARRAY[1::bigint], ARRAY[%(stream)s::uuid], "
    "ARRAY[%(stream)s::uuid], ARRAY['test.noted'], ARRAY['system:test'], "
    "ARRAY['{}'::bytea])"
)
LOCK = "PERFORM pg_advisory_xact_lock(7310580);"


class Outcome:
    """Positions that were committed, positions that the reader saw, appends that failed."""

    def __init__(self) -> None:
        self.committed: list[int] = []
        self.seen: list[int] = []
        self.failed = 0


async def write(dsn: str, append: LiteralString, seed: int, outcome: Outcome) -> None:
    delays = random.Random(seed)  # noqa: S311 - delays, not secrets
    async with await AsyncConnection.connect(acting_as(dsn, APP_ROLE)) as connection:
        for _ in range(APPENDS_EACH):
            try:
                async with connection.transaction():
                    cursor = await connection.execute(append, {"tenant": A, "stream": uuid4()})
                    row = await cursor.fetchone()
                    assert row is not None
                    await connection.execute(
                        "SELECT pg_sleep(%s)", (delays.uniform(0, DELAY_MAX_S),)
                    )
                outcome.committed.append(row[0])
            except psycopg.errors.UniqueViolation:
                outcome.failed += 1


async def follow(dsn: str, writing: Sequence[asyncio.Task[None]], outcome: Outcome) -> None:
    """As a projection would: always what comes after the last position seen."""
    last = 0
    async with await AsyncConnection[TupleRow].connect(
        acting_as(dsn, PROJECTOR_ROLE), autocommit=True
    ) as connection:
        while True:
            done = all(task.done() for task in writing)
            rows = await (await connection.execute(READ, (last, 1000))).fetchall()
            outcome.seen += [row[0] for row in rows]
            last = outcome.seen[-1] if outcome.seen else 0
            if done and not rows:
                return


async def race(dsn: str, append: LiteralString = APPEND) -> Outcome:
    outcome = Outcome()
    writing = [asyncio.create_task(write(dsn, append, seed, outcome)) for seed in range(WRITERS)]
    await follow(dsn, writing, outcome)
    await asyncio.gather(*writing)
    return outcome


async def test_nothing_is_skipped_and_nothing_is_missing(database: str) -> None:
    outcome = await race(database)
    total = WRITERS * APPENDS_EACH
    assert outcome.failed == 0
    assert outcome.seen == list(range(1, total + 1))
    assert sorted(outcome.committed) == outcome.seen


async def test_without_the_lock_the_same_race_loses_appends(database: str) -> None:
    """The planted bug: two writers read the same last block and take the same positions."""
    with psycopg.connect(database, autocommit=True) as connection:
        row = connection.execute("SELECT pg_get_functiondef('append_events'::regproc)").fetchone()
        assert row is not None
        without_lock = row[0].replace(LOCK, "")
        assert without_lock != row[0]
        connection.execute(without_lock.encode())
    outcome = await race(database)
    assert outcome.failed > 0


async def test_positions_from_a_sequence_are_skipped_by_the_same_reader(database: str) -> None:
    """The planted bug of many event stores: a bigserial says who asked first, not who committed."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            """
            CREATE SEQUENCE naive_position;
            CREATE FUNCTION naive_append(tenant uuid, stream uuid) RETURNS bigint
            LANGUAGE sql SECURITY DEFINER AS
            $$ INSERT INTO events VALUES (nextval('naive_position'), tenant, stream, 1, now(),
               stream, stream, 'test.noted', 'system:test', '{}') RETURNING position $$;
            GRANT EXECUTE ON FUNCTION naive_append TO link_app;
            """
        )
    outcome = await race(database, "SELECT naive_append(%(tenant)s, %(stream)s)")
    assert outcome.failed == 0
    assert len(outcome.committed) == WRITERS * APPENDS_EACH
    assert len(outcome.seen) < len(outcome.committed)


async def test_the_time_of_recording_never_goes_back(database: str) -> None:
    """The server's clock is set back: the last block bears a time that is still to come."""
    async with await AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(
            "INSERT INTO event_blocks VALUES (1, 1, 1, '', sha256(''), '2999-01-01Z')"
        )
        await connection.execute(APPEND, {"tenant": A, "stream": uuid4()})
        cursor = await connection.execute(
            "SELECT position, extract(year FROM recorded_at) FROM events"
        )
        assert await cursor.fetchall() == [(2, 2999)]


@pytest.mark.parametrize(
    "statement",
    [
        APPEND.replace("ARRAY[1::bigint]", "ARRAY[1::bigint, 2]"),
        APPEND.replace("ARRAY[0]", "'[0:0]={0}'::int[]"),
        APPEND.replace("ARRAY[1::bigint]", "ARRAY[ARRAY[1::bigint]]"),
        APPEND.replace("ARRAY['{}'::bytea]", "NULL"),
    ],
    ids=["uneven", "from zero", "nested", "null"],
)
async def test_a_batch_that_is_not_nine_even_arrays_is_refused(
    database: str, statement: LiteralString
) -> None:
    """Whatever is appended must hash to what the check of the blocks will compute."""
    async with await AsyncConnection.connect(database, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.ArraySubscriptError):
            await connection.execute(statement, {"tenant": A, "stream": uuid4()})


async def test_text_in_another_encoding_is_refused(database: str) -> None:
    async with await AsyncConnection.connect(
        database, autocommit=True, client_encoding="LATIN1"
    ) as connection:
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="UTF8"):
            await connection.execute(APPEND, {"tenant": A, "stream": uuid4()})
