"""Who is asked when, what is counted, and what is told of it."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
import pytest

from application.ports.health import Due, Probed
from application.tenants.health_monitor import EVERY_S, JITTER, HealthMonitor
from domain import health as h
from domain import linked_service as ls
from domain.ids import PLATFORM
from tests import builders
from tests.application.world import World
from tests.builders import ROUTING, SERVICE
from tests.spec import TENANT

OK = Probed(healthy=True, latency_s=0.01)
STREAM = h.health_id(SERVICE)
VENDOR_STREAM = h.health_id(h.PALM_VENDOR)


class Probes:
    """Answers as told; `asked` are the URLs, with `vendor` for the vendor."""

    def __init__(self) -> None:
        self.says: Probed = OK
        self.vendor_says: Probed = OK
        self.asked: list[str] = []

    def fail(self, reason: str) -> None:
        self.says = Probed(healthy=False, latency_s=2.0, reason=reason)

    async def product(self, url: str) -> Probed:
        self.asked.append(url)
        return self.says

    async def palm_vendor(self) -> Probed:
        self.asked.append("vendor")
        return self.vendor_says


class Line(msgspec.Struct):
    checks: int = 0
    failures: int = 0
    due_at: datetime | None = None


class Book:
    """`HealthBook` in memory, for one product and the vendor."""

    def __init__(self, *, fenced: bool = True) -> None:
        self.lines: dict[UUID, Line] = {SERVICE: Line(), h.PALM_VENDOR: Line()}
        self._fenced = fenced
        self.pause = asyncio.Event()
        self.pause.set()

    async def due(self, now: datetime, limit: int) -> Sequence[Due]:
        found = [
            Due(
                tenant_id=TENANT if subject == SERVICE else PLATFORM,
                subject_id=subject,
                checks=line.checks,
                failures=line.failures,
            )
            for subject, line in self.lines.items()
            if line.due_at is None or line.due_at <= now
        ][:limit]
        await self.pause.wait()
        return found

    async def note(self, due: Due, probed: Probed, now: datetime, due_at: datetime) -> int | None:
        del now
        line = self.lines[due.subject_id]
        if self._fenced and line.checks != due.checks:
            return None
        line.checks += 1
        line.failures = 0 if probed.healthy else line.failures + 1
        line.due_at = due_at
        return line.failures


class Watch:
    """A world with its monitor; `minute` lets the next probes be due and does a round."""

    def __init__(self, book: Book | None = None) -> None:
        self.world, self.probes, self.book = World(), Probes(), book or Book()

    def monitor(self, chance: float = 0.5) -> HealthMonitor:
        world = self.world
        return HealthMonitor(
            world.log, world.log, self.probes, self.book, world.clock, world.ids, lambda: chance
        )

    async def minute(self) -> None:
        self.world.clock.advance(EVERY_S)
        await self.monitor().round()

    def told(self) -> list[str]:
        return self.world.names(STREAM)


async def test_every_product_and_the_vendor_are_asked_once_a_minute_more_or_less() -> None:
    watch = Watch()
    assert await watch.monitor().round() == 2
    assert sorted(watch.probes.asked) == ["https://wallet.example/health", "vendor"]
    watch.world.clock.advance(EVERY_S * (1 - JITTER) - 0.1)
    for chance in (0.0, 1.0):
        assert await watch.monitor().round() == 0
        watch.world.clock.advance(EVERY_S * 2)
        assert await watch.monitor(chance).round() == 2
        pause = EVERY_S * (1 + JITTER * (2 * chance - 1))
        due_at = watch.book.lines[SERVICE].due_at
        assert due_at is not None
        assert (due_at - watch.world.clock.now()).total_seconds() == pytest.approx(pause)
        watch.world.clock.advance(pause - 0.1)


async def trips_after(watch: Watch) -> int:
    """How many failures in a row it takes until somebody is told."""
    watch.probes.fail("timeout")
    for failures in range(1, 10):
        await watch.minute()
        if watch.told():
            return failures
    raise AssertionError("nobody is ever told")


async def test_the_third_failure_in_a_row_is_told_once_and_so_is_the_recovery() -> None:
    watch = Watch()
    await watch.minute()
    assert await trips_after(watch) == 3
    watch.probes.fail("status_503")
    await watch.minute()
    assert watch.world.events(STREAM) == [
        builders.linked_service_became_unhealthy(reason="timeout", consecutive_failures=3)
    ]
    watch.probes.says = OK
    await watch.minute()
    await watch.minute()
    assert watch.world.events(STREAM)[1:] == [builders.linked_service_became_healthy()]


async def test_a_success_in_between_begins_the_count_again() -> None:
    watch = Watch()
    for failing in (True, True, False, True, True, False):
        watch.probes.fail("timeout")
        if not failing:
            watch.probes.says = OK
        await watch.minute()
    assert watch.told() == []


async def test_a_monitor_that_trips_at_once_would_be_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The planted bug: one failure is an outage."""
    monkeypatch.setattr(h, "UNHEALTHY_AFTER", 1)
    assert await trips_after(Watch()) == 1


async def together(watch: Watch) -> None:
    """Two processes that both read who is due before either of them has asked."""
    watch.world.clock.advance(EVERY_S)
    watch.book.pause.clear()
    rounds = [asyncio.ensure_future(watch.monitor().round()) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    watch.book.pause.set()
    await asyncio.gather(*rounds)


@pytest.mark.parametrize(("fenced", "failures"), [(True, 2), (False, 4)])
async def test_two_processes_that_both_ask_count_one_failure(fenced: bool, failures: int) -> None:
    """Without the fence, the planted bug, two minutes of failures count as four."""
    watch = Watch(Book(fenced=fenced))
    watch.probes.fail("connect")
    for _ in range(2):
        await together(watch)
    assert watch.book.lines[SERVICE].failures == failures
    assert bool(watch.told()) is not fenced


async def test_what_was_counted_and_not_told_is_told_by_the_next() -> None:
    watch = Watch()
    watch.probes.fail("connect")
    watch.book.lines[SERVICE].failures = 3  # whoever counted these died before it could tell
    await watch.minute()
    assert watch.world.events(STREAM) == [
        builders.linked_service_became_unhealthy(reason="connect", consecutive_failures=4)
    ]


async def test_a_suspended_product_is_left_alone() -> None:
    watch = Watch()
    watch.world.given(SERVICE, ls.LinkedServiceSuspended())
    await watch.minute()
    assert watch.probes.asked == ["vendor"]
    assert watch.book.lines[SERVICE].checks == 0


async def test_the_address_is_the_present_one() -> None:
    watch = Watch()
    routing = msgspec.structs.replace(ROUTING, base_url="https://other.example/", health_path="/up")
    watch.world.given(SERVICE, ls.LinkedServiceChanged(routing=routing, changed=("base_url",)))
    await watch.minute()
    assert "https://other.example/up" in watch.probes.asked


async def test_the_vendor_s_outage_is_the_platform_s_to_know() -> None:
    watch = Watch()
    watch.probes.vendor_says = Probed(healthy=False, latency_s=2.0, reason="palm_vendor_timeout")
    for _ in range(4):
        await watch.minute()
    watch.probes.vendor_says = OK
    await watch.minute()
    assert watch.world.events(VENDOR_STREAM) == [
        builders.palm_vendor_became_unhealthy(),
        builders.palm_vendor_became_healthy(),
    ]
    assert {each.tenant_id for each in watch.world.log.stream(VENDOR_STREAM)} == {PLATFORM}
    assert watch.told() == []


async def test_one_counterpart_that_breaks_a_rule_of_ours_does_not_keep_the_others_unasked() -> (
    None
):
    watch = Watch()

    async def broken() -> Probed:
        raise RuntimeError("a bug")

    watch.probes.palm_vendor = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        await watch.monitor().round()
    assert watch.book.lines[SERVICE].checks == 1
