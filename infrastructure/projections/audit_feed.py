"""The audit as a feed: the same lines as the read model's, made of the log itself, in its order.

Made of the log and not of the rows, so that nothing is ever missing in it: a position that was
told is behind everything the tenant will ever be shown up to there, whether the read model lags,
halts or is rebuilt. The reducer is the read model's own, so `audit_enabled` hides the same lines.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol
from weakref import WeakSet

import msgspec
import structlog

from application.ports import EventLog, LogPage
from domain import tenant as t
from domain.audit import AuditRead
from domain.events import Recorded
from domain.ids import TenantId
from domain.tenant import TenantSuspended
from infrastructure.event_log.mapper import UnknownEvent
from projections import audit
from projections.published import published

EVENTS_PER_PAGE: Final = 500

_log = structlog.get_logger(__name__)


class Past(Protocol):
    """What the feed asks of the log's history (`LogHistory`)."""

    async def end(self) -> int: ...

    async def events(
        self, tenant_id: TenantId, *, after: int, up_to: int, limit: int
    ) -> LogPage: ...


class FeedPage(msgspec.Struct, frozen=True, kw_only=True):
    """Lines that follow on a position. `read_to`: everything up to there has been looked at."""

    lines: Sequence[audit.AuditRow]
    read_to: int
    more: bool


class Ear:
    """Hears, for as long as it is open, how far one tenant's audit has grown."""

    def __init__(self, tenant_id: TenantId, open_ears: "WeakSet[Ear]") -> None:
        self.tenant_id = tenant_id
        self._open_ears = open_ears
        self._newest = 0
        self._closed = False
        self._changed = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether whoever listens should end: the process is going to, or the tenant is no longer
        served."""
        return self._closed

    async def beyond(self, position: int, within_s: float) -> None:
        """Return when there is something to read beyond `position`, or after `within_s`."""
        try:
            async with asyncio.timeout(within_s):
                while self._newest <= position and not self._closed:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return

    def hear(self, position: int) -> None:
        if position > self._newest:
            self._newest = position
            self._changed.set()

    def close(self) -> None:
        self._closed = True
        self._changed.set()

    def leave(self) -> None:
        self._open_ears.discard(self)


class AuditFeed:
    """`heard` is a subscriber for the log's tail."""

    def __init__(self, log: EventLog, past: Past) -> None:
        self._log = log
        self._past = past
        self._ears: WeakSet[Ear] = WeakSet()
        self._closed = False

    def heard(self, events: Sequence[Recorded]) -> None:
        """There are new events; those without a line wake nobody.

        That the audit was read wakes nobody either, or one reader would keep another awake; the
        line comes with whatever comes next.
        """
        if not self._ears:
            return
        newest = {
            recorded.tenant_id: recorded.position
            for recorded in events
            if published(recorded.event).action is not None
            and not isinstance(recorded.event, AuditRead)
        }
        suspended = {
            recorded.tenant_id for recorded in events if isinstance(recorded.event, TenantSuspended)
        }
        for ear in self._ears:
            ear.hear(newest.get(ear.tenant_id, 0))
            if ear.tenant_id in suspended:
                ear.close()

    def close(self) -> None:
        """Let every reader end, and whoever comes now end at once."""
        self._closed = True
        for ear in self._ears:
            ear.close()

    def listening(self, tenant_id: TenantId) -> int:
        """How many readers of this tenant are open in this process."""
        return sum(ear.tenant_id == tenant_id for ear in self._ears)

    def listen(self, tenant_id: TenantId) -> Ear:
        """An ear that counts as a reader until it leaves, or until nobody holds it any more."""
        ear = Ear(tenant_id, self._ears)
        if self._closed:
            ear.close()
        self._ears.add(ear)
        return ear

    async def page(self, tenant_id: TenantId, after: int) -> FeedPage:
        """The lines that follow on `after`; all of them, when there is no more.

        An event that this process does not know, as a newer one may write, is waited for and
        never passed. Raises what reading the log raises.
        """
        end = max(after, await self._past.end())
        past = await self._log.load(tenant_id, tenant_id)
        tenant = t.rebuild([recorded for recorded in past if recorded.position <= after])
        enabled = {} if tenant is None else {tenant_id: tenant.settings.audit_enabled}
        try:
            found = await self._past.events(
                tenant_id, after=after, up_to=end, limit=EVENTS_PER_PAGE
            )
        except UnknownEvent as unknown:
            _log.error("audit_feed_holds", position=after, reason=str(unknown))
            return FeedPage(lines=(), read_to=after, more=False)
        return FeedPage(
            lines=audit.reduce(enabled, found.events),
            read_to=found.read_to,
            more=found.read_to < end,
        )
