"""What may be shown once is shown once, by many at a time and in several processes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from domain.ids import TenantId
from infrastructure import database as connections
from infrastructure.database import Pool, tenant_scope
from infrastructure.shown_once import BATCH_MAX, MARGIN, ShownOnce

TENANT, OTHER_TENANT = TenantId(uuid4()), TenantId(uuid4())
SOON = datetime.now(UTC) + timedelta(days=1)
"""Later than any run of the suite ends."""


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with connections.pool(database, connections.APP_ROLE) as opened:
        yield opened


async def test_the_same_is_shown_once_and_another_is_another(pool: Pool) -> None:
    shown = ShownOnce(pool)
    assert await shown.first_time(TENANT, "dpop", "key", "1", expires_at=SOON)
    assert not await shown.first_time(TENANT, "dpop", "key", "1", expires_at=SOON)
    assert not await ShownOnce(pool).first_time(TENANT, "dpop", "key", "1", expires_at=SOON)
    for tenant_id, *what in (
        (OTHER_TENANT, "dpop", "key", "1"),
        (TENANT, "assertion", "key", "1"),
        (TENANT, "dpop", "key", "2"),
        (TENANT, "dpop", "ke", "y1"),
    ):
        assert await shown.first_time(tenant_id, *what, expires_at=SOON)


async def test_of_many_at_once_one_is_the_first(pool: Pool, database: str) -> None:
    """In two processes, more than one batch of them. Seen to fail without the `discard`: all of a
    batch that show the same are told that they are the first."""
    async with connections.pool(database, connections.APP_ROLE) as other:
        processes = [ShownOnce(pool), ShownOnce(other)]
        told = await asyncio.gather(
            *(
                each.first_time(TENANT, "dpop", str(number), expires_at=SOON)
                for each in processes
                for number in list(range(10)) * (BATCH_MAX // 8)
            )
        )
    assert sum(told) == 10


async def test_what_has_run_out_goes_as_new_ones_come(pool: Pool) -> None:
    shown = ShownOnce(pool)
    past = datetime.now(UTC) - MARGIN - timedelta(minutes=2)
    for number in range(6):
        await shown.first_time(TENANT, "old", str(number), expires_at=past)
    for number in range(6):
        assert await shown.first_time(TENANT, "new", str(number), expires_at=SOON)
    async with tenant_scope(pool, TENANT) as connection:
        found = await connection.execute("SELECT count(*) FROM shown_once WHERE expires_at < now()")
        assert await found.fetchone() == (0,)


async def test_without_the_database_nothing_is_believed(pool: Pool) -> None:
    shown = ShownOnce(pool)
    await pool.close()
    for _ in range(2):
        with pytest.raises(psycopg.OperationalError):
            await shown.first_time(TENANT, "dpop", "1", expires_at=SOON)


async def test_nobody_sees_or_forgets_what_another_tenant_showed(pool: Pool) -> None:
    await ShownOnce(pool).first_time(TENANT, "dpop", "1", expires_at=SOON)
    async with tenant_scope(pool, OTHER_TENANT) as connection:
        found = await connection.execute("SELECT count(*) FROM shown_once")
        assert await found.fetchone() == (0,)
    with pytest.raises(InsufficientPrivilege):
        async with tenant_scope(pool, TENANT) as connection:
            await connection.execute("DELETE FROM shown_once")
