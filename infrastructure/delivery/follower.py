"""Follows the log for one kind and writes what each event owes: once, whoever else tries to.

The position moves, if it is still where we left it, in the transaction that writes the rows. So
of two processes one writes them and the other begins anew, and a process that dies has written
all of a batch or nothing. The lock that makes one process do the work only saves the others the
trouble. A process that stands still gives it up, too: the server ends a session that says nothing
for `frozen_s`.

The commits do not wait for the disk: a server that crashes loses rows and position together, and
what was owed is owed again under the same ids. A worker's commit, which waits, makes durable
whatever it saw.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, LiteralString

import msgspec
import psycopg
import structlog
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from application.ports import DeliveryKind, Owed
from application.ports.deliveries import delivery_id, event_id
from domain.errors import Unavailable
from domain.events import Recorded
from infrastructure.database import PROJECTOR_ROLE, Connection, acting_as
from infrastructure.projections.blame import description
from infrastructure.projections.log_window import LogReader
from infrastructure.speaking import speaking

_log: Final = structlog.stdlib.get_logger(__name__)
_RUNNING: Final = 7310585
"""Any number will do that no other advisory lock of ours begins with."""

_BEGIN: Final = """
    INSERT INTO delivery_positions (kind, position) VALUES (%s, 0) ON CONFLICT DO NOTHING
"""
_POSITION: Final = "SELECT position FROM delivery_positions WHERE kind = %s"
_ADVANCE: Final = """
    UPDATE delivery_positions
    SET position = %s, moved_at = now(),
        halted_at_position = NULL, halted_error = NULL, halted_at = NULL
    WHERE kind = %s AND position = %s
"""
_OWE: Final[LiteralString] = """
    INSERT INTO deliveries (
        id, tenant_id, kind, destination, lane, event_id, event, stream_id, stream_version,
        position, recorded_at, state, reason, finished_at
    ) VALUES (
        %(id)s, %(tenant_id)s, %(kind)s, %(destination)s, %(lane)s, %(event_id)s, %(event)s,
        %(stream_id)s, %(stream_version)s, %(position)s, %(recorded_at)s, %(state)s, %(reason)s,
        CASE WHEN %(state)s = 'dead' THEN now() END
    ) ON CONFLICT (id) DO NOTHING
"""
_HALT: Final = """
    UPDATE delivery_positions
    SET halted_at = CASE WHEN halted_at_position = %(at)s THEN halted_at ELSE now() END,
        halted_at_position = %(at)s, halted_error = %(why)s
    WHERE kind = %(kind)s AND position = %(stored)s
"""


class FollowerPace(msgspec.Struct, frozen=True, kw_only=True):
    """`batch` events to a commit while catching up; afterwards a commit at most every
    `live_interval_s`, and at the latest after `store_s` when nothing was owed meanwhile.
    `poll_s` is how long a lost notification can go unnoticed, `halted_s` how long a follower
    that could not read or judge an event waits before it tries again. After `frozen_s` without a
    word from us the server gives our turn to another process."""

    batch: int = 500
    live_interval_s: float = 0.05
    poll_s: float = 0.5
    store_s: float = 5.0
    halted_s: float = 5.0
    frozen_s: float = 15.0


class Overtaken(Exception):
    """Another process moved the position: what it wrote is not for us to write again."""


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
            except (psycopg.OperationalError, psycopg.InterfaceError, Overtaken) as error:
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
        await connection.execute(_BEGIN, (self._kind.name,))
        while True:
            cursor = await connection.execute(
                "SELECT pg_try_advisory_lock(%s, hashtext(%s))", (_RUNNING, self._kind.name)
            )
            if await cursor.fetchone() == (True,):
                return
            await asyncio.sleep(min(self._pace.poll_s, self._pace.frozen_s / 4))

    async def _follow(self, connection: Connection) -> None:
        found = await (await connection.execute(_POSITION, (self._kind.name,))).fetchone()
        assert found is not None, "standing by has made the row"
        stored: int = found[0]
        seen = stored
        singly_until = 0
        loop = asyncio.get_running_loop()
        stored_at = spoke_at = loop.time()
        while True:
            self._news.clear()
            if loop.time() - spoke_at > self._pace.frozen_s / 4:
                await connection.execute("SELECT")
                spoke_at = loop.time()
            limit = 1 if seen < singly_until else self._pace.batch
            events: Sequence[Recorded] = ()
            try:
                events = await self._reader.read(seen, limit)
                owed = await speaking(connection, self._owed(events), self._pace.frozen_s / 4)
            except Exception as error:
                if len(events) > 1:
                    # Taken one by one, they show which of them it is.
                    singly_until = events[-1].position
                    continue
                await self._halted(connection, stored, seen, error)
                await asyncio.sleep(min(self._pace.halted_s, self._pace.frozen_s / 4))
                continue
            seen += len(events)
            idle = loop.time() - stored_at >= self._pace.store_s
            if owed or (seen > stored and (idle or len(events) == limit)):
                await self._write(connection, stored, seen, owed)
                stored, stored_at, spoke_at = seen, loop.time(), loop.time()
            if not events:
                await self._sleep(min(self._pace.poll_s, self._pace.frozen_s / 4))
            elif len(events) < limit:
                await asyncio.sleep(self._pace.live_interval_s)

    async def _owed(self, events: Sequence[Recorded]) -> Sequence[Owed]:
        relevant = [each for each in events if isinstance(each.event, self._kind.listens_to)]
        return await self._kind.owed(relevant) if relevant else ()

    async def _write(
        self, connection: Connection, before: int, position: int, owed: Sequence[Owed]
    ) -> None:
        async with connection.transaction():
            moved = await connection.execute(_ADVANCE, (position, self._kind.name, before))
            if moved.rowcount != 1:
                raise Overtaken(self._kind.name)
            if owed:
                async with connection.cursor() as cursor:
                    await cursor.executemany(_OWE, [self._row(each) for each in owed])
        if owed:
            self._wrote.set()

    def _row(self, owed: Owed) -> dict[str, Any]:
        recorded = owed.event
        public = event_id(recorded.stream_id, recorded.version)
        return {
            "id": delivery_id(self._kind.name, public, owed.destination),
            "tenant_id": recorded.tenant_id,
            "kind": self._kind.name,
            "destination": owed.destination,
            "lane": owed.lane,
            "event_id": public,
            "event": recorded.event.NAME,
            "stream_id": recorded.stream_id,
            "stream_version": recorded.version,
            "position": recorded.position,
            "recorded_at": recorded.recorded_at,
            "state": "pending" if owed.dead is None else "dead",
            "reason": owed.dead,
        }

    async def _halted(
        self, connection: Connection, stored: int, seen: int, error: Exception
    ) -> None:
        """Say in the open that the kind stands still; nothing is skipped.

        What the kind needs may only be away for a while: that is a warning.
        """
        why = description(error)
        kind = self._kind.name
        if isinstance(error, Unavailable):
            _log.warning("delivery_kind_waits", kind=kind, after=seen, error=why, reason=error.code)
        elif isinstance(error, psycopg.OperationalError):
            _log.warning("delivery_kind_waits", kind=kind, after=seen, error=why)
        else:
            _log.error("delivery_kind_halted", kind=kind, after=seen, error=why)
        given = {"at": seen + 1, "why": why, "kind": kind, "stored": stored}
        await connection.execute(_HALT, given)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            pass
