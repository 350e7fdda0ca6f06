"""What is measured can be read, whatever one of the readings does."""

import asyncio

import pytest

from infrastructure.metrics import Metrics


async def test_a_reading_is_made_when_somebody_asks() -> None:
    metrics = Metrics()
    depth = metrics.gauge("link_depth_events", "How deep.")
    found = iter((3, 5))

    async def read() -> None:
        depth.set(next(found))

    metrics.at_scrape("depth", read)
    assert b"\nlink_depth_events 3.0\n" in await metrics.exposition()
    assert b"\nlink_depth_events 5.0\n" in await metrics.exposition()


async def test_a_reading_that_fails_or_hangs_takes_nothing_from_the_others() -> None:
    """Seen to fail without the `except`, and to hang without the limit."""
    metrics = Metrics(read_within_s=0.05)
    metrics.counter("link_things", "Things.").inc(2)

    async def fail() -> None:
        raise OSError("the database is away")

    async def hang() -> None:
        await asyncio.Event().wait()

    metrics.at_scrape("fails", fail)
    metrics.at_scrape("hangs", hang)
    told = (await metrics.exposition()).decode().splitlines()
    assert "link_things_total 2.0" in told
    assert 'link_readings_failed_total{reading="fails"} 1.0' in told
    assert 'link_readings_failed_total{reading="hangs"} 1.0' in told


def test_a_reading_has_a_name_of_its_own() -> None:
    metrics = Metrics()

    async def read() -> None: ...

    metrics.at_scrape("pools", read)
    with pytest.raises(ValueError, match="pools"):
        metrics.at_scrape("pools", read)
