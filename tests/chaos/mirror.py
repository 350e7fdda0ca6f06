"""The verifier's own reading of the event log: every event once, every block hashed again.

It reads the tables itself and folds transactions with the domain's functions, so that what it
compares with is the log and not what some process made of it.
"""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import msgspec
import psycopg
from psycopg.rows import TupleRow

from domain import transaction as x
from domain.catalogue import EVENTS, UPCASTERS
from domain.events import Recorded
from domain.folding import UnexpectedEvent
from infrastructure.event_log.blocks import GENESIS, block_hash
from infrastructure.event_log.mapper import EventMapper, UnknownEvent

PAGE: Final = 5000

_EVENTS: Final = (
    "SELECT position, tenant_id, stream_id, stream_version, command_id, correlation_id, name, "
    "actor, payload, recorded_at FROM events WHERE position > %s ORDER BY position LIMIT %s"
)
_BLOCKS: Final = (
    "SELECT block_no, first_position, last_position, prev_hash, hash, recorded_at "
    "FROM event_blocks WHERE block_no > %s ORDER BY block_no"
)
_BLOCK: Final = "SELECT hash FROM event_blocks WHERE block_no = %s"


class Story(msgspec.Struct):
    """What the log says of one transaction."""

    state: x.Transaction
    jtis: set[str]
    decisions: int = 0

    def answer(self, text: x.ProductText | None) -> bytes | None:
        """What every request with this key is answered, byte for byte; None while undecided.

        `text` is what the product wrote, of which the log holds a commitment.
        """
        state = self.state
        if state.decision is None:
            return None
        if x.sealed_text(state) is not None:
            state = msgspec.structs.replace(state, text=text)
        return msgspec.json.encode(x.answer(state))


class LogMirror:
    """Call `read` after a crash; everything else then speaks of that moment."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._mapper = EventMapper(EVENTS, UPCASTERS)
        self._forget()

    def _forget(self) -> None:
        self.position = 0
        self.stories: dict[UUID, Story] = {}
        self.gaps = 0
        self.nonsense: list[str] = []
        """Blocks that do not verify, events out of turn."""
        self._block_no = self._last_covered = 0
        self._hash = GENESIS

    def read(self) -> bool:
        """Read what is new, in one snapshot. False when what was there before is not any more."""
        with psycopg.connect(self._dsn) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            whole = self._is_where_it_was(connection)
            if not whole:
                self._forget()
            events = self._events(connection)
            self._blocks(connection, events)
        return whole

    def _is_where_it_was(self, connection: psycopg.Connection[TupleRow]) -> bool:
        if self._block_no == 0:
            return True
        found = connection.execute(_BLOCK, (self._block_no,)).fetchone()
        return found == (self._hash,)

    def _events(self, connection: psycopg.Connection[TupleRow]) -> Mapping[int, TupleRow]:
        fresh: dict[int, TupleRow] = {}
        while True:
            rows = connection.execute(_EVENTS, (self.position, PAGE)).fetchall()
            for row in rows:
                if row[0] != self.position + 1:
                    self.gaps += row[0] - self.position - 1
                    self.nonsense.append(f"position {row[0]} follows {self.position}")
                self.position = row[0]
                fresh[row[0]] = row
                self._take_in(row)
            if len(rows) < PAGE:
                return fresh

    def _take_in(self, row: TupleRow) -> None:
        position, tenant, stream, version, command, correlation, name, actor, payload, at = row
        if not name.startswith("transaction."):
            return
        try:
            event = self._mapper.decode(name, payload)
        except (UnknownEvent, msgspec.DecodeError) as error:
            self.nonsense.append(f"position {position}: {name} is unreadable ({error})")
            return
        recorded = Recorded(
            position=position,
            tenant_id=tenant,
            stream_id=stream,
            version=version,
            event=event,
            actor=actor,
            correlation_id=correlation,
            command_id=command,
            recorded_at=at,
        )
        story = self.stories.get(stream)
        decided = isinstance(event, x.Decision)
        try:
            state = x.evolve(None if story is None else story.state, recorded)
        except UnexpectedEvent as error:
            self.nonsense.append(f"position {position}: {name} out of turn ({error})")
            if story is not None:
                story.decisions += decided
            return
        if story is None:
            self.stories[stream] = story = Story(state=state, jtis=set())
        story.state = state
        story.decisions += decided
        if isinstance(event, x.TransactionAuthorizationRequested):
            story.jtis.add(event.jti)

    def _blocks(
        self, connection: psycopg.Connection[TupleRow], events: Mapping[int, TupleRow]
    ) -> None:
        last = self._last_covered
        for number, first, to, previous, stored, at in connection.execute(
            _BLOCKS, (self._block_no,)
        ):
            held = [events[position] for position in range(first, to + 1) if position in events]
            why = None
            if (number, first, previous) != (self._block_no + 1, last + 1, self._hash):
                why = "does not continue the one before it"
            elif len(held) != to - first + 1 or any(row[9] != at for row in held):
                why = "is not covered by its events"
            elif block_hash(previous, first, to, at, [_hashed(row) for row in held]) != stored:
                why = "does not hash to what is stored"
            if why is not None:
                self.nonsense.append(f"block {number} {why}")
            self._block_no, self._hash, last = number, stored, to
        if last != self.position:
            self.nonsense.append(f"blocks end at {last}, events at {self.position}")
        self._last_covered = last


def _hashed(row: TupleRow) -> tuple[Any, ...]:
    return row[1:9]
