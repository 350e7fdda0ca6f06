"""A stream is found by its key, however old the plan is and however much a tenant has."""

from typing import LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from infrastructure.event_log.log import PostgresEventLog
from tests.infrastructure.event_log.notes import A, notes, origin

EVENTS = 200

LOAD: LiteralString = "SELECT * FROM load_streams(%s, %s)"
BY_ANY_INDEX: LiteralString = """
    SELECT s.* FROM unnest(%s::uuid[], %s::uuid[]) AS pair (tenant, stream)
    CROSS JOIN LATERAL (
        SELECT * FROM events s
        WHERE s.stream_id = pair.stream AND s.tenant_id = pair.tenant
        ORDER BY s.stream_version
    ) AS s
"""
"""The planted bug, seen in a benchmark: on an empty table the tenant's index looked as good as the
primary key, and the session kept that plan. A tenant's every event was then read for every load,
1.1 ms of PostgreSQL's time for each transaction after some seconds."""


@pytest.mark.parametrize(("load", "read"), [(LOAD, 1), (BY_ANY_INDEX, EVENTS)])
async def test_a_load_reads_the_events_of_its_stream_and_no_others(
    database: str, log: PostgresEventLog, load: LiteralString, read: int
) -> None:
    streams = [uuid4() for _ in range(EVENTS)]
    with psycopg.connect(as_the_loader(database)) as connection:
        fetched(connection, load, uuid4())
        connection.commit()
        for stream_id in streams:
            await log.append(origin(), [notes(stream_id, 0, "one")])
        assert fetched(connection, load, streams[7]) == read


def fetched(connection: psycopg.Connection[TupleRow], load: LiteralString, stream: UUID) -> int:
    """How many rows of the log were read to load a stream, in this transaction alone."""
    connection.execute(load, ([A], [stream]), prepare=True)
    found = connection.execute(
        "SELECT idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'events'"
    ).fetchone()
    assert found is not None
    return int(found[0])


def as_the_loader(dsn: str) -> str:
    """Planned as the loader's own session is, with administrator's rights to look at counters."""
    return make_conninfo(dsn, options="-c enable_seqscan=off -c plan_cache_mode=force_generic_plan")
