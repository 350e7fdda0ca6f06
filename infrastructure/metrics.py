"""What one process measures of itself, in the form that Prometheus reads.

A metric is counted where the thing happens, or read when somebody asks (`at_scrape`): what costs
a query, or stands in a pool or a set anyway, is read. Labels name things of ours, of which there
are few: never a tenant, a person, a device, or a text from outside.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets of durations."""

Reading = Callable[[], Awaitable[None]]
"""Sets gauges to what is so now."""

_log = structlog.get_logger(__name__)


class Metrics:
    """One per process; names begin with `link_` and end in their unit.

    A reading that takes longer than `read_within_s` shows what it showed last, and counts in
    `link_readings_failed_total`.
    """

    def __init__(self, *, read_within_s: float = 3.0) -> None:
        self._read_within_s = read_within_s
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._readings: dict[str, Reading] = {}
        self._failed = self.counter(
            "link_readings_failed", "Readings that failed or took too long.", ["reading"]
        )

    def counter(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
        """Shown as `<name>_total`."""
        return Counter(name, meaning, labels, registry=self.registry)

    def gauge(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(name, meaning, labels, registry=self.registry)

    def histogram(
        self,
        name: str,
        meaning: str,
        labels: Sequence[str] = (),
        *,
        buckets: Sequence[float] = SECONDS,
    ) -> Histogram:
        return Histogram(name, meaning, labels, buckets=buckets, registry=self.registry)

    def at_scrape(self, name: str, reading: Reading) -> None:
        """Have `reading` set its gauges whenever the metrics are asked for."""
        if name in self._readings:
            raise ValueError(f"{name} is read already")
        self._readings[name] = reading

    async def exposition(self) -> bytes:
        """Everything, read anew. One reading that fails takes nothing from the others."""
        await asyncio.gather(*(self._read(*named) for named in self._readings.items()))
        return generate_latest(self.registry)

    async def _read(self, name: str, reading: Reading) -> None:
        try:
            async with asyncio.timeout(self._read_within_s):
                await reading()
        except Exception as error:
            # Whoever measures must see the rest all the more while something is broken.
            self._failed.labels(name).inc()
            _log.warning("reading_failed", reading=name, error=type(error).__name__)
