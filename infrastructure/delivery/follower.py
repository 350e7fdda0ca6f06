"""Follows the log for one kind and writes what each event owes: once, whoever else tries to.

The position moves, if it is still where we left it, in the transaction that writes the rows
(`progress.py`). So of two processes one writes them and the other begins anew, and a process that
dies has written all of a batch or nothing. The lock that makes one process do the work only saves
the others the trouble. A process that stands still gives it up, too: the server ends a session
that says nothing for `frozen_s`.

An event that cannot be judged makes its tenant wait, and nobody else: the position moves past it,
and none of the tenant's later events is judged before it. What was missed is taken in from the
tenant's own events, in their order, at the first of many tries that succeeds.

The commits do not wait for the disk: a server that crashes loses rows and position together, and
what was owed is owed again under the same ids. A worker's commit, which waits, makes durable
whatever it saw.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
import psycopg
import structlog
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from application.ports import DeliveryKind, Owed
from domain.events import Recorded
from domain.ids import TenantId
from infrastructure.database import PROJECTOR_ROLE, Connection, acting_as
from infrastructure.delivery import owing, progress, standstill
from infrastructure.delivery.progress import Overtaken, Progress, TenantWait
from infrastructure.projections.blame import description
from infrastructure.projections.log_window import LogReader
from infrastructure.resting import rest_s
from infrastructure.speaking import speaking

_log: Final = structlog.stdlib.get_logger(__name__)
_RUNNING: Final = 7310585
"""Any number will do that no other advisory lock of ours begins with."""
_INTERRUPTIONS: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    Overtaken,
)
"""The connection is lost, the server has become a standby, or another process was first."""


class FollowerPace(msgspec.Struct, frozen=True, kw_only=True):
    """`batch` events to a commit while catching up; afterwards a commit at most every
    `live_interval_s` (longer while the log is busy), and at the latest after `store_s` when
    nothing was owed meanwhile. `poll_s` is how long a lost notification can go unnoticed,
    `halted_s` how long it takes until what could not be read or judged is tried again, for all or
    for one tenant. After `frozen_s` without a word from us the server gives our turn to another
    process."""

    batch: int = 2000
    live_interval_s: float = 0.05
    poll_s: float = 0.5
    store_s: float = 5.0
    halted_s: float = 5.0
    frozen_s: float = 15.0


class _Waiting(msgspec.Struct):
    """A tenant that waits, and when it is tried again. Up to `singly_until` one event at a time,
    which shows which of them it is."""

    wait: TenantWait
    try_at: float
    singly_until: int = 0


class _Way(msgspec.Struct):
    """Where a follower stands: what is written, how far it has judged, and who waits."""

    progress: Progress
    seen: int
    stored_at: float
    waiting: dict[TenantId, _Waiting]
    singly_until: int = 0
    taken: int = 0
    """Events since the last rest."""


class Follower:
    """One kind's way through the log. `run` never returns by itself; cancel it."""

    def __init__(
        self, dsn: str, kind: DeliveryKind, log: LogReader, wrote: asyncio.Event, pace: FollowerPace
    ) -> None:
        """`wrote` is set whenever there is something new to deliver."""
        self._dsn = dsn
        self._kind = kind
        self._reader = log
        self._wrote = wrote
        self._pace = pace
        self._news = asyncio.Event()

    def wake(self) -> None:
        """There may be new events."""
        self._news.set()

    async def run(self) -> None:
        """Stand by, follow when it is our turn, and come back when the connection is lost."""
        while True:
            try:
                async with await self._connect() as connection:
                    await self._stand_by(connection)
                    await self._follow(connection)
            except _INTERRUPTIONS as error:
                _log.warning(
                    "delivery_follower_interrupted",
                    kind=self._kind.name,
                    error=type(error).__name__,
                )
            await asyncio.sleep(self._pace.poll_s)

    async def _connect(self) -> Connection:
        given: dict[str, Any] = conninfo_to_dict(self._dsn)
        frozen_ms = int(self._pace.frozen_s * 1000)
        options = (
            f"{given.pop('options', '') or ''} -c synchronous_commit=off -c timezone=UTC"
            f" -c idle_session_timeout={frozen_ms}"
            f" -c idle_in_transaction_session_timeout={frozen_ms}"
        )
        return await psycopg.AsyncConnection[TupleRow].connect(
            acting_as(make_conninfo("", **given, options=options), PROJECTOR_ROLE),
            autocommit=True,
            connect_timeout=5,
        )

    async def _stand_by(self, connection: Connection) -> None:
        await progress.begin(connection, self._kind.name)
        while True:
            cursor = await connection.execute(
                "SELECT pg_try_advisory_lock(%s, hashtext(%s))", (_RUNNING, self._kind.name)
            )
            if await cursor.fetchone() == (True,):
                return
            await asyncio.sleep(min(self._pace.poll_s, self._pace.frozen_s / 4))

    async def _follow(self, connection: Connection) -> None:
        stands, waits = await progress.read(connection, self._kind.name)
        loop = asyncio.get_running_loop()
        waiting = {each.tenant_id: _Waiting(each, loop.time()) for each in waits}
        way = _Way(stands, stands.position, loop.time(), waiting)
        spoke_at = loop.time()
        while True:
            self._news.clear()
            if loop.time() - spoke_at > self._pace.frozen_s / 4:
                await connection.execute("SELECT")
                spoke_at = loop.time()
            await self._try_who_waits(connection, way)
            limit = 1 if way.seen < way.singly_until else self._pace.batch
            events: Sequence[Recorded] = ()
            try:
                events = await self._reader.read(way.seen, limit)
                owed = await self._owed(connection, events, way.waiting)
            except Exception as error:
                if len(events) > 1:
                    # Taken one by one, they show which of them it is.
                    way.singly_until = events[-1].position
                elif events and standstill.is_the_tenants(error):
                    await self._let_wait(connection, way, events[0], error)
                else:
                    await self._halted(connection, way, error)
                    await asyncio.sleep(min(self._pace.halted_s, self._pace.frozen_s / 4))
                continue
            way.seen += len(events)
            way.taken += len(events)
            idle = loop.time() - way.stored_at >= self._pace.store_s
            if owed or (way.seen > way.progress.position and (idle or len(events) == limit)):
                await self._write(connection, way, owed)
                spoke_at = loop.time()
            if any(each.try_at <= loop.time() for each in way.waiting.values()):
                continue
            if events and len(events) == limit:
                continue
            taken, way.taken = way.taken, 0
            if events:
                await asyncio.sleep(rest_s(self._pace.live_interval_s, taken))
            else:
                await self._sleep(min(self._pace.poll_s, self._pace.frozen_s / 4))

    async def _owed(
        self,
        connection: Connection,
        events: Sequence[Recorded],
        waiting: Collection[TenantId] = (),
    ) -> Sequence[Owed]:
        listening = frozenset(self._kind.listens_to)
        relevant = [
            each
            for each in events
            if type(each.event) in listening and not (waiting and each.tenant_id in waiting)
        ]
        if not relevant:
            return ()
        return await speaking(connection, self._kind.owed(relevant), self._pace.frozen_s / 4)

    async def _write(
        self,
        connection: Connection,
        way: _Way,
        owed: Sequence[Owed],
        wait: TenantWait | None = None,
    ) -> None:
        async with connection.transaction():
            moved = await progress.advance(connection, way.progress, way.seen, wait)
            await owing.write(connection, self._kind.name, owed)
        way.progress, way.stored_at = moved, asyncio.get_running_loop().time()
        if owed:
            self._wrote.set()

    async def _let_wait(
        self, connection: Connection, way: _Way, at: Recorded, error: Exception
    ) -> None:
        """Go on past this event without its tenant."""
        wait = standstill.wait_at(self._kind.name, at, error)
        way.seen = at.position
        await self._write(connection, way, (), wait)
        self._put_off(way, wait)
        standstill.tell_tenant_waits(wait, error)

    async def _try_who_waits(self, connection: Connection, way: _Way) -> None:
        """Give the tenant whose turn it is a portion of what it missed."""
        now = asyncio.get_running_loop().time()
        due = min(way.waiting.values(), key=lambda each: each.try_at, default=None)
        if due is None or due.try_at > now:
            return
        if way.seen > way.progress.position:
            # What the tenant missed ends where everybody else's way begins.
            await self._write(connection, way, ())
        wait = due.wait
        limit = 1 if wait.position < due.singly_until else self._pace.batch
        missed: Sequence[Recorded] = ()
        try:
            missed = await self._reader.read_tenant(
                wait.tenant_id, wait.position - 1, way.progress.position, limit
            )
            owed = await self._owed(connection, missed)
        except Exception as error:
            if len(missed) > 1:
                due.singly_until = missed[-1].position
            elif missed and standstill.is_the_tenants(error):
                await self._still_waits(connection, way, missed[0], error)
            else:
                standstill.tell_all_wait(self._kind.name, wait.position - 1, error)
                self._put_off(way, wait)
            return
        async with connection.transaction():
            await owing.write(connection, self._kind.name, owed)
            if len(missed) < limit:
                way.progress = await progress.end(connection, way.progress, wait.tenant_id)
            else:
                due.wait = msgspec.structs.replace(wait, position=missed[-1].position + 1)
                await progress.move(connection, way.progress, due.wait)
        if owed:
            self._wrote.set()
        if len(missed) < limit:
            del way.waiting[wait.tenant_id]
            standstill.tell_wait_ended(wait)

    async def _still_waits(
        self, connection: Connection, way: _Way, at: Recorded, error: Exception
    ) -> None:
        wait = standstill.wait_at(self._kind.name, at, error)
        before = way.waiting[at.tenant_id].wait
        async with connection.transaction():
            await progress.move(connection, way.progress, wait)
        self._put_off(way, wait)
        if (wait.position, wait.error) != (before.position, before.error):
            standstill.tell_tenant_waits(wait, error)

    def _put_off(self, way: _Way, wait: TenantWait) -> None:
        try_at = asyncio.get_running_loop().time() + self._pace.halted_s
        way.waiting[wait.tenant_id] = _Waiting(wait, try_at)

    async def _halted(self, connection: Connection, way: _Way, error: Exception) -> None:
        """Say in the open that the kind stands still; nothing is skipped."""
        standstill.tell_all_wait(self._kind.name, way.seen, error)
        await progress.halt(connection, way.progress, way.seen + 1, description(error))

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            pass
