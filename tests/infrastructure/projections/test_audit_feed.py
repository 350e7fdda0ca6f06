"""The audit as a feed: in the order of the log, without a gap, whoever else is writing."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import pytest

from application.ports import LogPage
from domain.events import DomainEvent, Origin, StreamAppend
from domain.ids import TenantId
from domain.tenant import TenantSettings
from infrastructure.event_log.mapper import UnknownEvent
from infrastructure.projections import audit_feed
from infrastructure.projections.audit_feed import AuditFeed, FeedPage
from projections import audit
from tests import builders as b
from tests.application.hand_clock import HandClock
from tests.application.memory_log import MemoryEventLog
from tests.projections.stage import OTHER_TENANT
from tests.spec import CORRELATION, TENANT


class Past:
    """A tenant's part of a log in memory; `meanwhile` runs once, when a page has been read."""

    def __init__(self, log: MemoryEventLog) -> None:
        self._log = log
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self.unknown = ""

    async def end(self) -> int:
        return len(self._log.read_now())

    async def events(self, tenant_id: TenantId, *, after: int, up_to: int, limit: int) -> LogPage:
        found = [
            each
            for each in self._log.read_now()
            if each.tenant_id == tenant_id and after < each.position <= up_to
        ][:limit]
        unknown = [each.position for each in found if self.unknown == each.event.NAME]
        if unknown:
            found = [each for each in found if each.position < unknown[0]]
            if not found:
                raise UnknownEvent(self.unknown, 2, "written by a newer process")
            return LogPage(events=found, read_to=found[-1].position)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return LogPage(events=found, read_to=found[-1].position if len(found) == limit else up_to)


class Stand:
    """A log in memory, and a feed that hears of everything at once."""

    def __init__(self, feed: type[AuditFeed] = AuditFeed) -> None:
        self.log = MemoryEventLog(HandClock())
        self.past = Past(self.log)
        self.feed = feed(self.log, self.past)

    @property
    def position(self) -> int:
        return len(self.log.read_now())

    def record(
        self, *events: DomainEvent, stream: UUID | None = None, tenant_id: TenantId = TENANT
    ) -> None:
        stream_id = stream or uuid4()
        append = StreamAppend(
            tenant_id=tenant_id,
            stream_id=stream_id,
            expected_version=len(self.log.stream(stream_id)),
            events=events,
        )
        origin = Origin(actor="system:test", correlation_id=CORRELATION, command_id=uuid4())
        before = self.position
        self.log.record(origin, [append])
        self.feed.heard(self.log.read_now()[before:])

    async def all_lines(self, tenant_id: TenantId = TENANT) -> list[int]:
        """The positions told by a reader who goes on until nothing is left."""
        told: list[int] = []
        read_to = 0
        while True:
            page = await self.feed.page(tenant_id, read_to)
            told += [row.position for row in page.lines]
            assert page.read_to >= read_to
            if not page.more and not page.lines:
                return told
            read_to = page.read_to

    def shown(self, tenant_id: TenantId = TENANT) -> list[int]:
        """What the read model shows."""
        own = [each for each in self.log.read_now() if each.tenant_id == tenant_id]
        return [row.position for row in audit.reduce({}, own)]


class Hasty(AuditFeed):
    """The planted bug: the end is asked for after the events, as if nothing came in between."""

    async def page(self, tenant_id: TenantId, after: int) -> FeedPage:
        page = await super().page(tenant_id, after)
        end = max(page.read_to, await self._past.end())
        return FeedPage(lines=page.lines, read_to=end, more=False)


@pytest.mark.parametrize("feed", [AuditFeed, Hasty], ids=["ours", "planted"])
async def test_what_is_committed_while_a_page_is_read_comes_with_the_next(
    feed: type[AuditFeed],
) -> None:
    stand = Stand(feed)
    stand.record(b.user_signed_up())

    async def meanwhile() -> None:
        stand.record(b.user_signed_up())

    stand.past.meanwhile = meanwhile
    complete = await stand.all_lines() == stand.shown() == [1, 2]
    assert complete is (feed is AuditFeed)


async def test_pages_end_where_the_next_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_feed, "EVENTS_PER_PAGE", 2)
    stand = Stand()
    for _ in range(5):
        stand.record(b.user_signed_up(), b.claim_taken())
        stand.record(b.user_signed_up(), tenant_id=OTHER_TENANT)
    assert await stand.all_lines() == stand.shown()
    assert await stand.all_lines(OTHER_TENANT) == stand.shown(OTHER_TENANT)


async def test_the_setting_as_it_was_at_each_position_says_what_is_told() -> None:
    stand = Stand()
    off, on = TenantSettings(audit_enabled=False), TenantSettings()
    stand.record(b.tenant_created(), stream=TENANT)
    for settings in (off, on, off):
        stand.record(b.user_signed_up())
        stand.record(
            b.tenant_settings_changed(settings=settings, changed=("audit_enabled",)), stream=TENANT
        )
    stand.record(b.user_signed_up())
    assert await stand.all_lines() == stand.shown()
    for position in range(stand.position):
        page = await stand.feed.page(TENANT, position)
        expected = [line for line in stand.shown() if line > position]
        assert [row.position for row in page.lines] == expected


async def test_an_event_that_is_not_known_is_waited_for_and_never_passed() -> None:
    stand = Stand()
    stand.record(b.user_signed_up(), b.user_suspended(), b.user_resumed())
    stand.past.unknown = "user.suspended"
    assert await stand.feed.page(TENANT, 1) == FeedPage(lines=(), read_to=1, more=False)
    first = await stand.feed.page(TENANT, 0)
    assert ([row.position for row in first.lines], first.read_to) == ([1], 1)
    stand.past.unknown = ""
    assert await stand.all_lines() == [1, 2, 3]


async def test_an_ear_hears_of_its_own_tenants_lines_and_of_nothing_else() -> None:
    stand = Stand()
    ear = stand.feed.listen(TENANT)
    stand.record(b.user_signed_up(), tenant_id=OTHER_TENANT)
    stand.record(b.claim_taken())
    stand.record(b.audit_read())
    await asyncio.wait_for(ear.beyond(0, 0.05), 10)
    stand.record(b.user_signed_up())
    await asyncio.wait_for(ear.beyond(0, 600), 10)
    await asyncio.wait_for(ear.beyond(3, 600), 10)
    waiting = asyncio.create_task(ear.beyond(4, 600))
    stand.record(b.user_suspended())
    await asyncio.wait_for(waiting, 10)


async def test_a_reader_counts_until_it_leaves_or_is_forgotten() -> None:
    stand = Stand()
    one, other = stand.feed.listen(TENANT), stand.feed.listen(TENANT)
    assert (stand.feed.listening(TENANT), stand.feed.listening(OTHER_TENANT)) == (2, 0)
    one.leave()
    one.leave()
    assert stand.feed.listening(TENANT) == 1
    del other
    gc.collect()
    assert stand.feed.listening(TENANT) == 0


async def test_when_the_process_ends_every_reader_is_told() -> None:
    stand = Stand()
    ear = stand.feed.listen(TENANT)
    waiting = asyncio.create_task(ear.beyond(0, 600))
    await asyncio.sleep(0)
    stand.feed.close()
    await asyncio.wait_for(waiting, 10)
    assert ear.closed
    assert stand.feed.listen(TENANT).closed
