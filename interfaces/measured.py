"""What is measured of the parts of one process: pools, read models, the log, listeners, breakers.

A part of the composition root. What a part counts by itself is handed to it there; what can be
read when somebody asks is read here.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client import Counter, Histogram

from infrastructure.circuits.breakers import Breakers
from infrastructure.database import Pool
from infrastructure.delivery.standing import standings
from infrastructure.edge.listeners import Listener
from infrastructure.event_log.tail import Tail
from infrastructure.loop_lateness import LoopLateness
from infrastructure.metrics import Metrics
from infrastructure.products.health_book import PostgresHealthBook
from infrastructure.projections.digester import Digests
from infrastructure.projections.runner import ProjectionRunner
from infrastructure.transparency.standing import standing
from projections.linked_services import shadow_totals

BATCH_EVENTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Appends:
    """Told of every commit of the log's writer."""

    def __init__(self, metrics: Metrics) -> None:
        self._events = metrics.histogram(
            "link_append_batch_events", "Events of one commit of the log.", buckets=BATCH_EVENTS
        )
        self._seconds = metrics.histogram(
            "link_append_seconds", "How long one commit of the log took."
        )

    def __call__(self, events: int, seconds: float) -> None:
        self._events.observe(events)
        self._seconds.observe(seconds)


class MeasuredTraffic:
    """Told of every answer: a few dictionary look-ups and additions each."""

    def __init__(self, metrics: Metrics) -> None:
        self._requests = metrics.counter(
            "link_requests", "Requests answered.", ["operation", "status"]
        )
        self._seconds = metrics.histogram(
            "link_request_seconds", "From a request's head to its answer's.", ["operation"]
        )
        self._refusals = metrics.counter("link_refusals", "Requests refused.", ["code"])
        self._away = metrics.counter(
            "link_requests_turned_away", "Requests that were not begun.", ["why"]
        )
        self._known: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def answered(self, operation: str, status: int, code: str | None, seconds: float) -> None:
        known = self._known.get((operation, status))
        if known is None:
            known = self._known[operation, status] = (
                self._requests.labels(operation, status),
                self._seconds.labels(operation),
            )
        known[0].inc()
        known[1].observe(seconds)
        if code is not None:
            self._refusals.labels(code).inc()

    def turned_away(self, why: str) -> None:
        self._away.labels(why).inc()


def measure_lateness(metrics: Metrics, lateness: LoopLateness) -> None:
    late = metrics.gauge("link_event_loop_late_seconds", "How late the loop was, of late.", ["how"])

    async def read() -> None:
        late.labels("sustained").set(lateness.sustained_s)
        late.labels("worst").set(lateness.worst_s)

    metrics.at_scrape("lateness", read)


def measure_pools(metrics: Metrics, pools: Mapping[str, Pool]) -> None:
    size = metrics.gauge("link_pool_connections", "Connections of a pool.", ["pool"])
    idle = metrics.gauge("link_pool_connections_idle", "Of these, not in use.", ["pool"])
    waiting = metrics.gauge("link_pool_waiting", "Who waits for a connection.", ["pool"])

    async def read() -> None:
        for name, pool in pools.items():
            found = pool.get_stats()
            size.labels(name).set(found.get("pool_size", 0))
            idle.labels(name).set(found.get("pool_available", 0))
            waiting.labels(name).set(found.get("requests_waiting", 0))

    metrics.at_scrape("pools", read)


def measure_read_models(metrics: Metrics, runner: ProjectionRunner, digests: Digests) -> None:
    lag = metrics.gauge("link_read_model_lag_events", "Events not yet taken in.", ["read_model"])
    lag_s = metrics.gauge(
        "link_read_model_lag_seconds", "Age of the first event not taken in.", ["read_model"]
    )
    halted = metrics.gauge(
        "link_read_model_halted", "1 when it stands still for everybody.", ["read_model"]
    )
    tenants = metrics.gauge(
        "link_read_model_halted_tenants", "Tenants that it stands still for.", ["read_model"]
    )
    diverging = metrics.gauge(
        "link_read_model_diverging_tenants",
        "Tenants whose rows were not the log's when this process last compared them.",
        ["read_model"],
    )

    async def read() -> None:
        found = await runner.status()
        for gauge in (lag, lag_s, halted, tenants):
            gauge.clear()  # a rebuild that has ended is not shown for ever
        for status in found:
            lag.labels(status.name).set(status.lag)
            lag_s.labels(status.name).set(status.lag_s)
            halted.labels(status.name).set(status.halt is not None)
            tenants.labels(status.name).set(len(status.tenants_halted))
            diverging.labels(status.name).set(digests.diverging(status.name))

    metrics.at_scrape("read_models", read)


def measure_deliveries(metrics: Metrics, projector: Pool) -> None:
    pending = metrics.gauge("link_deliveries_pending", "Deliveries not yet over.", ["kind"])
    dead = metrics.gauge("link_deliveries_dead", "Deliveries no longer tried.", ["kind"])
    oldest = metrics.gauge(
        "link_deliveries_oldest_age_seconds", "Age of the oldest pending delivery.", ["kind"]
    )
    halted = metrics.gauge(
        "link_deliveries_halted", "1 when the kind stands still for everybody.", ["kind"]
    )
    waiting = metrics.gauge(
        "link_deliveries_waiting_tenants", "Tenants that the kind stands still for.", ["kind"]
    )

    async def read() -> None:
        for found in await standings(projector):
            pending.labels(found.kind).set(found.pending)
            dead.labels(found.kind).set(found.dead)
            oldest.labels(found.kind).set(found.oldest_s or 0.0)
            halted.labels(found.kind).set(found.halted_at is not None)
            waiting.labels(found.kind).set(found.tenants_waiting)

    metrics.at_scrape("deliveries", read)


def measure_transparency(metrics: Metrics, projector: Pool) -> None:
    behind = metrics.gauge("link_transparency_lag_events", "Events that are no leaves yet.")
    behind_s = metrics.gauge(
        "link_transparency_lag_seconds", "Age of the first event that is no leaf yet."
    )
    unsigned = metrics.gauge(
        "link_transparency_unsigned_logs", "Logs longer than their checkpoint."
    )
    refused = metrics.gauge(
        "link_transparency_refused_logs", "Logs that do not continue what was signed of them."
    )

    async def read() -> None:
        found = await standing(projector)
        behind.set(found.lag)
        behind_s.set(found.lag_s)
        unsigned.set(found.unsigned)
        refused.set(found.refused)

    metrics.at_scrape("transparency", read)


def measure_tail(metrics: Metrics, tail: Tail) -> None:
    position = metrics.gauge("link_log_position", "The last position this process has seen.")
    held = metrics.gauge("link_log_held", "1 when the log holds an event unknown to this release.")

    async def read() -> None:
        position.set(tail.position)
        held.set(tail.held is not None)

    metrics.at_scrape("tail", read)


def measure_breakers(metrics: Metrics, kept: Breakers) -> None:
    breakers = metrics.gauge(
        "link_breakers", "Linked services by the state of their breaker here.", ["state"]
    )

    async def read() -> None:
        for state, count in kept.states().items():
            breakers.labels(state).set(count)

    metrics.at_scrape("breakers", read)


def measure_shadows(metrics: Metrics, projector: Pool) -> None:
    verdicts = metrics.gauge(
        "link_shadow_verdicts",
        "Decisions without their product, by what was decided and what a shadow policy would have.",
        ["decided", "would"],
    )

    async def read() -> None:
        async with projector.connection() as connection:
            for decided, would, count in await shadow_totals(connection):
                verdicts.labels(decided, would).set(count)

    metrics.at_scrape("shadows", read)


def measure_health(metrics: Metrics, book: PostgresHealthBook) -> None:
    unhealthy = metrics.gauge(
        "link_unhealthy", "Counterparts that failed their last three health checks.", ["kind"]
    )

    async def read() -> None:
        services, platform = await book.unhealthy()
        unhealthy.labels("linked_service").set(services)
        unhealthy.labels("palm_vendor").set(platform)

    metrics.at_scrape("health", read)


def measure_listeners(metrics: Metrics, listeners: Sequence[tuple[str, Listener]]) -> None:
    connections = metrics.gauge(
        "link_connections", "Open connections past their handshake.", ["listener"]
    )
    accepted = metrics.gauge(
        "link_connections_accepted", "Connections taken since the start.", ["listener"]
    )

    async def read() -> None:
        for name, listener in listeners:
            connections.labels(name).set(listener.connections)
            accepted.labels(name).set(listener.accepted)

    metrics.at_scrape("listeners", read)
