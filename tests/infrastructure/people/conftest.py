"""A pool of the application's role and a keyring, for what is kept about people."""

from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from infrastructure import database as connections
from infrastructure.database import Pool
from infrastructure.keys.key_file import KeyFile
from infrastructure.keys.keyring import Keyring
from infrastructure.keys.tenant_keys import TenantKeys


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with connections.pool(database, connections.APP_ROLE, connections_max=16) as opened:
        yield opened


@pytest.fixture
def keyring() -> Keyring:
    return Keyring(bytes(range(32)))


@pytest.fixture
def key_file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "master.key")


@pytest.fixture
def tenant_keys(key_file: KeyFile) -> TenantKeys:
    return TenantKeys(key_file)


@pytest.fixture
async def admin(database: str) -> AsyncIterator[connections.Connection]:
    """A connection that row-level security does not bind."""
    connection = await psycopg.AsyncConnection.connect(database, autocommit=True)
    async with connection:
        yield connection
