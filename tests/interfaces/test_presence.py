"""Who serves a database stays known when the connection that says so dies."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import psycopg
import pytest

from interfaces.presence import PRESENCE_LOCK, Presence
from interfaces.servers import RedisRequired

PATIENCE_S = 30

HOLDERS = (
    "SELECT l.pid FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objid = %s AND l.granted"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@asynccontextmanager
async def administrator(dsn: str) -> AsyncGenerator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        yield connection


async def holder(admin: psycopg.AsyncConnection) -> int | None:
    found = await (await admin.execute(HOLDERS, (PRESENCE_LOCK,))).fetchone()
    return None if found is None else int(found[0])


async def another(admin: psycopg.AsyncConnection, than: int | None) -> int:
    """Who holds it next; asks until somebody does."""
    found = await holder(admin)
    while found is None or found == than:
        found = await holder(admin)
    return found


async def end(admin: psycopg.AsyncConnection, process: int) -> None:
    await admin.execute("SELECT pg_terminate_backend(%s, 30000)", (process,))


async def test_the_lock_is_taken_again_when_its_connection_dies(database: str) -> None:
    """Without the watch the process served on, and another without Redis could come beside it."""
    async with (
        administrator(database) as admin,
        Presence(database, shared=False, look_every_s=0.05) as presence,
        asyncio.timeout(PATIENCE_S),
    ):
        watch = asyncio.create_task(presence.until_refused())
        first = await holder(admin)
        assert first is not None
        await end(admin, first)
        await another(admin, first)
        with pytest.raises(RedisRequired):
            await Presence(database, shared=False).__aenter__()
        watch.cancel()


async def test_who_lost_it_to_another_is_told_to_end(database: str) -> None:
    async with (
        administrator(database) as admin,
        administrator(database) as other,
        Presence(database, shared=False, look_every_s=0.05) as presence,
        asyncio.timeout(PATIENCE_S),
    ):
        first = await holder(admin)
        assert first is not None
        # Queued behind the present holder, so it has the lock in the moment that one dies.
        queued = asyncio.create_task(other.execute("SELECT pg_advisory_lock(%s)", (PRESENCE_LOCK,)))
        waits = "SELECT FROM pg_locks WHERE pid = %s AND NOT granted"
        while (await admin.execute(waits, (other.info.backend_pid,))).rowcount == 0:
            continue
        await end(admin, first)
        await queued
        with pytest.raises(RedisRequired):
            await presence.until_refused()


async def test_an_old_session_that_the_server_still_keeps_is_ended(database: str) -> None:
    """Only the line was lost: the server holds our lock for us, and against us."""
    async with administrator(database) as admin, asyncio.timeout(PATIENCE_S):
        presence = Presence(database, shared=False, look_every_s=0.05)
        await presence.__aenter__()
        first = await holder(admin)
        kept = presence.connection
        presence.connection = None
        watch = asyncio.create_task(presence.until_refused())
        await another(admin, first)
        watch.cancel()
        await asyncio.wait([watch])
        await presence.__aexit__()
        assert kept is not None
        await kept.close()


async def test_many_with_a_redis_serve_side_by_side(database: str) -> None:
    async with Presence(database, shared=True), Presence(database, shared=True):
        with pytest.raises(RedisRequired):
            await Presence(database, shared=False).__aenter__()
