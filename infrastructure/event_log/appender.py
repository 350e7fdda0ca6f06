"""The one writer of a process: concurrent appends share a commit, and each stands on its own.

A batch forms while the one before it is being committed; nobody waits for company. What is
accepted and at which positions is decided by `append_events` in the database, which also
knows a submission again that it already holds.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, LiteralString
from uuid import UUID

from application.ports import Appended, CommitFailed, StaleStream
from domain.errors import Unavailable
from domain.events import Origin
from infrastructure.database import APP_ROLE
from infrastructure.event_log.session import ConnectionLost, Session
from infrastructure.event_log.wire_arrays import (
    ByteaArray,
    Int4Array,
    Int8Array,
    TextArray,
    UuidArray,
    WireArray,
)

EventRow = tuple[UUID, UUID, int, str, bytes]
"""Tenant, stream, version, name and payload of one event to append."""

SealedRow = tuple[UUID, UUID, UUID, int, bytes]
"""Tenant, stream, person, version of the person's key and ciphertext of what is kept beside."""

ValueRow = tuple[UUID, UUID, str, int, bytes]
"""Tenant, person, field, version of the person's key and ciphertext of a value of the vault."""

APPEND: Final = "SELECT * FROM append_events(%b, %b, %b, %b, %b, %b, %b, %b, %b)"
APPEND_SEALING: Final = (
    "SELECT * FROM append_events_sealing"
    "(%b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b)"
)
APPEND_UNLESS_BEGUN: Final = (
    "SELECT * FROM append_events_unless_begun"
    "(%b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b)"
)
APPEND_WITH_VALUES: Final = (
    "SELECT * FROM append_events_with_values"
    "(%b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b)"
)

_OVERLOADED_RETRY_S: Final = 1


class Submission:
    """What commits as a whole: its events, who waits for it, and the streams it touches."""

    __slots__ = (
        "answer",
        "events",
        "fences",
        "guarded",
        "origin",
        "queued_at",
        "sealed",
        "streams",
        "values",
    )

    def __init__(
        self,
        origin: Origin,
        events: Sequence[EventRow],
        sealed: Sequence[SealedRow],
        fences: Sequence[UUID],
        values: Sequence[ValueRow],
        answer: "asyncio.Future[Appended]",
        queued_at: float,
    ) -> None:
        self.origin = origin
        self.events = events
        self.sealed = sealed
        self.fences = fences
        self.values = values
        self.answer = answer
        self.queued_at = queued_at
        # As integers, which hash without Python code; UUIDs do not.
        self.streams = {event[1].int for event in events}
        self.guarded = {fence.int for fence in fences}

    def goes_with(self, streams: set[int], guarded: set[int]) -> bool:
        """Whether it may share a batch with what appends to `streams` and is kept out by `guarded`.

        What builds on another waits for it, and what begins a fence goes before or after it. Any
        number may stand behind one fence.
        """
        return (
            streams.isdisjoint(self.streams)
            and streams.isdisjoint(self.guarded)
            and guarded.isdisjoint(self.streams)
        )

    def succeed(self, appended: Appended) -> None:
        if not self.answer.done():
            self.answer.set_result(appended)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


def columns(submissions: Sequence[tuple[Origin, Sequence[EventRow]]]) -> tuple[WireArray, ...]:
    """The arguments of `append_events`: one array per column, one element per event."""
    rows = [
        (number, origin, event)
        for number, (origin, events) in enumerate(submissions)
        for event in events
    ]
    return (
        Int4Array.of([number for number, _, _ in rows]),
        UuidArray.of([event[0] for _, _, event in rows]),
        UuidArray.of([event[1] for _, _, event in rows]),
        Int8Array.of([event[2] for _, _, event in rows]),
        UuidArray.of([origin.command_id for _, origin, _ in rows]),
        UuidArray.of([origin.correlation_id for _, origin, _ in rows]),
        TextArray.of([event[3] for _, _, event in rows]),
        TextArray.of([origin.actor for _, origin, _ in rows]),
        ByteaArray.of([event[4] for _, _, event in rows]),
    )


def _sealed_columns(submissions: Sequence[Submission]) -> tuple[WireArray, ...]:
    """The further arguments of `append_events_sealing`."""
    rows = [(number, row) for number, each in enumerate(submissions) for row in each.sealed]
    return (
        Int4Array.of([number for number, _ in rows]),
        UuidArray.of([row[0] for _, row in rows]),
        UuidArray.of([row[1] for _, row in rows]),
        UuidArray.of([row[2] for _, row in rows]),
        Int4Array.of([row[3] for _, row in rows]),
        ByteaArray.of([row[4] for _, row in rows]),
    )


def _fence_columns(submissions: Sequence[Submission]) -> tuple[WireArray, ...]:
    """The last arguments of `append_events_unless_begun`."""
    rows = [(number, fence) for number, each in enumerate(submissions) for fence in each.fences]
    return (
        Int4Array.of([number for number, _ in rows]),
        UuidArray.of([fence for _, fence in rows]),
    )


def _value_columns(submissions: Sequence[Submission]) -> tuple[WireArray, ...]:
    """The last arguments of `append_events_with_values`."""
    rows = [(number, row) for number, each in enumerate(submissions) for row in each.values]
    return (
        Int4Array.of([number for number, _ in rows]),
        UuidArray.of([row[0] for _, row in rows]),
        UuidArray.of([row[1] for _, row in rows]),
        TextArray.of([row[2] for _, row in rows]),
        Int4Array.of([row[3] for _, row in rows]),
        ByteaArray.of([row[4] for _, row in rows]),
    )


class GroupAppender:
    """`deadline_s` bounds how long the fate of a batch may stay unknown, and how long a submission
    may wait before it is sent: past that nobody waits for it any more, and it is refused.

    `on_commit` hears of every batch that the server answered: its events, and the seconds.
    """

    def __init__(
        self,
        dsn: str,
        *,
        deadline_s: float = 5.0,
        batch_events_max: int = 512,
        waiting_events_max: int = 16_384,
        on_commit: Callable[[int, float], None] | None = None,
    ) -> None:
        self._session = Session(dsn, APP_ROLE)
        self._deadline_s = deadline_s
        self._batch_events_max = batch_events_max
        self._waiting_events_max = waiting_events_max
        self._on_commit = on_commit
        self._waiting: deque[Submission] = deque()
        self._waiting_events = 0
        self._wake = asyncio.Event()
        self._closing = False
        self._writer: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect and start the writer. Raises psycopg.Error."""
        await self._session.open()
        self._writer = asyncio.create_task(self._write(), name="event log appender")

    async def close(self) -> None:
        """Refuse new submissions, commit those that wait, and end."""
        self._closing = True
        self._wake.set()
        if self._writer is not None:
            await self._writer
        await self._session.close()

    async def append(
        self,
        origin: Origin,
        events: Sequence[EventRow],
        sealed: Sequence[SealedRow] = (),
        fences: Sequence[UUID] = (),
        values: Sequence[ValueRow] = (),
    ) -> Appended:
        """Commit `events` as one submission, durably, and what is `sealed` and the `values` with
        them, unless one of the streams `fences` has begun.

        Raises StaleStream, CommitFailed, or Unavailable (`overloaded`, `shutting_down`) when
        nothing of it was sent. A caller that is cancelled while it waits leaves the outcome open.
        """
        if self._closing or self._writer is None:
            raise Unavailable("shutting_down")
        if self._waiting_events + len(events) > self._waiting_events_max:
            raise _overloaded()
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._waiting and now - self._waiting[0].queued_at > self._deadline_s:
            raise _overloaded()
        answer: asyncio.Future[Appended] = loop.create_future()
        self._waiting.append(Submission(origin, events, sealed, fences, values, answer, now))
        self._waiting_events += len(events)
        self._wake.set()
        return await answer

    async def _write(self) -> None:
        try:
            while self._waiting or not self._closing:
                if not self._waiting:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                batch = self._next_batch()
                if batch:
                    await self._commit(batch)
        finally:
            self._closing = True
            for submission in self._waiting:
                submission.fail(CommitFailed("the writer of this process has ended"))

    def _next_batch(self) -> list[Submission]:
        """The oldest submissions, at most one per stream: what builds on another waits for it."""
        batch: list[Submission] = []
        deferred: list[Submission] = []
        streams: set[int] = set()
        guarded: set[int] = set()
        events = scanned = 0
        too_old = asyncio.get_running_loop().time() - self._deadline_s
        while self._waiting and scanned < 2 * self._batch_events_max:
            submission = self._waiting[0]
            if batch and events + len(submission.events) > self._batch_events_max:
                break
            self._waiting.popleft()
            scanned += 1
            if submission.answer.done():  # the caller was cancelled before anything was sent
                self._waiting_events -= len(submission.events)
            elif submission.queued_at < too_old:
                self._waiting_events -= len(submission.events)
                submission.fail(_overloaded())
            elif submission.goes_with(streams, guarded):
                batch.append(submission)
                events += len(submission.events)
            else:
                deferred.append(submission)
            streams |= submission.streams
            guarded |= submission.guarded
        self._waiting.extendleft(reversed(deferred))
        self._waiting_events -= events
        return batch

    async def _commit(self, batch: Sequence[Submission]) -> None:
        try:
            await self._send(batch)
        except ConnectionLost as error:
            for submission in batch:
                submission.fail(CommitFailed(str(error)))
        except Exception as error:
            # The server or the encoder refused the batch, so nothing of it is stored.
            if len(batch) == 1:
                batch[0].fail(error)
                return
            for submission in batch:
                await self._commit([submission])
        finally:
            for submission in batch:
                submission.fail(CommitFailed("the writer of this process has ended"))

    async def _send(self, batch: Sequence[Submission]) -> None:
        began = time.perf_counter()
        statement, beside = _statement(batch)
        rows = await self._session.fetch(
            statement,
            columns([(submission.origin, submission.events) for submission in batch]) + beside,
            within_s=self._deadline_s,
        )
        kept_out = {number: stale for number, _, _, stale in rows}
        if None not in kept_out:
            # Nothing was appended: some may not be, and the others are sent without them.
            for number, fences in kept_out.items():
                batch[number].fail(StaleStream(fences))
            others = [each for number, each in enumerate(batch) if number not in kept_out]
            if others:
                await self._send(others)
            return
        if self._on_commit is not None:
            events = sum(len(submission.events) for submission in batch)
            self._on_commit(events, time.perf_counter() - began)
        position = 0
        apart: dict[int, tuple[int, int, list[UUID] | None]] = {}
        for number, first, last, stale in rows:
            if number is None:
                position = first
            else:
                apart[number] = (first, last, stale)
        for number, submission in enumerate(batch):
            if number in apart:
                first, last, stale = apart[number]
                if stale is not None:
                    submission.fail(StaleStream(stale))
                else:
                    submission.succeed(
                        Appended(first_position=first, last_position=last, replayed=True)
                    )
                continue
            following = position + len(submission.events)
            submission.succeed(Appended(first_position=position, last_position=following - 1))
            position = following


def _statement(batch: Sequence[Submission]) -> tuple[LiteralString, tuple[WireArray, ...]]:
    """What appends the batch, and what it takes beside the columns of events."""
    if any(each.values for each in batch):
        return APPEND_WITH_VALUES, (
            *_sealed_columns(batch),
            *_fence_columns(batch),
            *_value_columns(batch),
        )
    if any(each.fences for each in batch):
        return APPEND_UNLESS_BEGUN, (*_sealed_columns(batch), *_fence_columns(batch))
    if any(each.sealed for each in batch):
        return APPEND_SEALING, _sealed_columns(batch)
    return APPEND, ()


def _overloaded() -> Unavailable:
    return Unavailable("overloaded", retry_after_s=_OVERLOADED_RETRY_S)
