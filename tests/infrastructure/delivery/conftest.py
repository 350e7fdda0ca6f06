"""A stage for every test of the engine: the real log to write to."""

from collections.abc import AsyncGenerator

import pytest_asyncio

from tests.projections.stage import Stage, stage_on


@pytest_asyncio.fixture
async def stage(database: str) -> AsyncGenerator[Stage]:
    async with stage_on(database) as stage:
        yield stage
