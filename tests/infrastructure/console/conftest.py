"""A pool of the application's role and a keyring, for what is kept about console people."""

from collections.abc import AsyncIterator

import pytest

from infrastructure import database as connections
from infrastructure.database import Pool
from infrastructure.keys.keyring import Keyring


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with connections.pool(database, connections.APP_ROLE, connections_max=16) as opened:
        yield opened


@pytest.fixture
def keyring() -> Keyring:
    return Keyring(bytes(range(32)))
