"""A log opened on the test's own database."""

from collections.abc import AsyncGenerator

import pytest

from infrastructure.event_log.log import PostgresEventLog
from tests.infrastructure.event_log.notes import MAPPER


@pytest.fixture
async def log(database: str) -> AsyncGenerator[PostgresEventLog]:
    opened = await PostgresEventLog.open(database, MAPPER)
    yield opened
    await opened.close()
