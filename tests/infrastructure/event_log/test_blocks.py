"""The chain of blocks says what is stored, and names the first block that does not."""

import asyncio
from collections.abc import AsyncGenerator
from uuid import uuid4

import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from infrastructure.database import PROJECTOR_ROLE, acting_as
from infrastructure.event_log.blocks import BadBlock, verify_blocks
from infrastructure.event_log.log import PostgresEventLog
from tests.infrastructure.event_log.notes import A, B, notes, origin


@pytest.fixture
async def projector(database: str) -> AsyncGenerator[AsyncConnection[TupleRow]]:
    async with await AsyncConnection.connect(
        acting_as(database, PROJECTOR_ROLE), autocommit=True
    ) as connection:
        yield connection


@pytest.fixture
async def six_blocks(log: PostgresEventLog) -> None:
    """Block n holds two events, at positions 2n - 1 and 2n."""
    for number in range(6):
        tenant = A if number % 2 else B
        await log.append(origin(), [notes(uuid4(), 0, "Grüße", "2", tenant_id=tenant)])


@pytest.fixture
async def intruder(database: str) -> AsyncGenerator[AsyncConnection[TupleRow]]:
    """A superuser who has got the trigger out of the way, in a transaction of its own."""
    async with await AsyncConnection.connect(database) as connection:
        for table in ("events", "event_blocks"):
            await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only".encode())
        yield connection
        await connection.rollback()


async def test_an_empty_log_has_no_blocks(projector: AsyncConnection[TupleRow]) -> None:
    assert await verify_blocks(projector) == 0


async def test_a_busy_log_verifies(
    log: PostgresEventLog, projector: AsyncConnection[TupleRow]
) -> None:
    """More blocks than one page, of one and of many events, some with refused members."""
    for _ in range(20):
        stream = uuid4()
        await asyncio.gather(
            *(log.append(origin(), [notes(uuid4(), 0, "a", "b")]) for _ in range(5)),
            *(log.append(origin(), [notes(stream, 0, "claim")]) for _ in range(15)),
            return_exceptions=True,
        )
    count = await verify_blocks(projector)
    assert count >= 20
    assert len(await log.read(0, 1000)) == 20 * 11


TAMPERINGS = [
    ("UPDATE events SET payload = '{}' WHERE position = 5", "not those that were hashed"),
    ("UPDATE events SET actor = 'system:x' WHERE position = 6", "not those that were hashed"),
    (
        "UPDATE events SET tenant_id = gen_random_uuid() WHERE position = 5",
        "not those that were hashed",
    ),
    ("UPDATE events SET command_id = gen_random_uuid() WHERE position = 5", "not those"),
    ("UPDATE events SET correlation_id = gen_random_uuid() WHERE position = 6", "not those"),
    ("UPDATE events SET name = 'test.other' WHERE position = 6", "not those"),
    ("UPDATE events SET stream_version = 9 WHERE position = 6", "not those"),
    ("UPDATE events SET stream_id = gen_random_uuid() WHERE position = 5", "not those"),
    ("UPDATE events SET recorded_at = now() WHERE position = 5", "commit time"),
    ("DELETE FROM events WHERE position = 6", "position 6 is missing"),
    ("UPDATE event_blocks SET hash = sha256('') WHERE block_no = 3", "not those"),
    ("UPDATE event_blocks SET prev_hash = '' WHERE block_no = 3", "does not continue"),
    ("UPDATE event_blocks SET first_position = 6 WHERE block_no = 3", "spans 6 to 6"),
    ("DELETE FROM event_blocks WHERE block_no = 3", "is missing"),
]


async def verify_tampered(connection: AsyncConnection[TupleRow], statement: str) -> int:
    async with connection.transaction():
        tampered = await connection.execute(statement.encode())
        assert tampered.rowcount == 1, statement
        return await verify_blocks(connection)


@pytest.mark.usefixtures("six_blocks")
async def test_the_first_bad_block_is_named(intruder: AsyncConnection[TupleRow]) -> None:
    for statement, reason in TAMPERINGS:
        with pytest.raises(BadBlock, match=reason) as raised:
            await verify_tampered(intruder, statement)
        assert raised.value.block_no == 3, statement
    assert await verify_blocks(intruder) == 6


@pytest.mark.usefixtures("six_blocks")
async def test_a_block_cut_off_the_end_is_missed(intruder: AsyncConnection[TupleRow]) -> None:
    await intruder.execute("DELETE FROM event_blocks WHERE block_no = 6")
    with pytest.raises(BadBlock, match="events reach to position 12") as raised:
        await verify_blocks(intruder)
    assert raised.value.block_no == 6
