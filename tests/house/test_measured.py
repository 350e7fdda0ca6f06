"""What the platform measures of itself moves with what it does."""

import re

import pytest

from tests.house.world import House

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def value(house: House, name: str) -> float:
    """A metric by its name and labels."""
    told = (await house.platform.metrics.exposition()).decode()
    found = re.search(rf"^{re.escape(name)} (\S+)$", told, re.MULTILINE)
    assert found is not None, f"{name} is not told"
    return float(found.group(1))


async def test_commits_are_counted_with_their_events(house: House) -> None:
    before = await value(house, "link_append_batch_events_sum")
    took = await value(house, "link_append_seconds_count")
    at = await house.end()
    await house.tenant()
    appended = await house.end() - at
    assert await value(house, "link_append_batch_events_sum") - before >= appended > 0
    assert await value(house, "link_append_seconds_count") > took


async def test_read_models_say_how_far_behind_they_are(house: House) -> None:
    await house.tenant()
    await house.platform.runner.wait(await house.end(), "devices", 30)
    assert await value(house, 'link_read_model_lag_events{read_model="devices"}') == 0
    assert await value(house, 'link_pool_connections{pool="app"}') >= 1
