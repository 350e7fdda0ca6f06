"""A session is kept speaking for as long as the work takes, and no longer."""

import asyncio

import psycopg
import pytest

from infrastructure.speaking import speaking


async def connected(database: str) -> psycopg.AsyncConnection:
    options = "-c idle_session_timeout=6000"
    return await psycopg.AsyncConnection.connect(database, autocommit=True, options=options)


async def test_a_session_outlives_its_silence_while_there_is_work(database: str) -> None:
    async with await connected(database) as connection:
        assert await speaking(connection, asyncio.sleep(9.0, "done"), 0.5) == "done"
        assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


async def test_without_a_word_the_server_ends_it(database: str) -> None:
    """What the test above could not tell: that there is something to outlive."""
    connection = await connected(database)
    await asyncio.sleep(9.0)
    with pytest.raises(psycopg.errors.IdleSessionTimeout):
        await connection.execute("SELECT 1")
    await connection.close()


async def test_what_the_work_raises_is_raised(database: str) -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    async with await connected(database) as connection:
        with pytest.raises(ZeroDivisionError):
            await speaking(connection, fails(), 0.5)


async def test_a_lost_session_cuts_the_work_off(database: str) -> None:
    ended = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    connection = await connected(database)
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
    async with asyncio.timeout(30):
        with pytest.raises(psycopg.OperationalError):
            await speaking(connection, endless(), 0.1)
    assert ended.is_set()
    await connection.close()
