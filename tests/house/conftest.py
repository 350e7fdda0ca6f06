"""The whole house: one for all tests that only need tenants of their own, or a fresh one."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import pytest_asyncio
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.house.world import House, opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_house(
    postgres_dsn: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    # A process that had nothing left to do, and then took over tests of another, opens one anew. It
    # leaves the first alone: to drop a database waits for a checkpoint of all of them.
    name = f"house_{uuid4().hex}"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template_database)
            )
        )
    dsn = make_conninfo(postgres_dsn, dbname=name)
    async with opened(dsn, tmp_path_factory.mktemp("house")) as found:
        yield found


@pytest.fixture
def house(shared_house: House) -> House:
    """The house that is open, with vendor, product and budgets as new. Mark the module with
    `pytest.mark.asyncio(loop_scope="session")`, and bring a tenant of your own."""
    shared_house.reset()
    return shared_house


@pytest_asyncio.fixture(loop_scope="session")
async def fresh_house(database: str, tmp_path: Path) -> AsyncIterator[House]:
    """A house with an empty log."""
    async with opened(database, tmp_path / "data") as found:
        yield found
