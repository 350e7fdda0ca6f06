"""Any course of appends, repeats and loads does to the log what it does to a list in memory."""

import asyncio
from typing import Final
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from application.ports import Appended, StaleStream
from domain.events import Origin, StreamAppend
from domain.ids import TenantId
from infrastructure.event_log.log import PostgresEventLog
from tests.infrastructure.event_log.notes import MAPPER, A, B, Noted, notes, origin

STREAMS: Final = 4
TENANTS: Final = st.sampled_from([A, B])
NUMBERS: Final = st.integers(0, STREAMS - 1)

Submission = tuple[Origin, tuple[StreamAppend, ...]]
Outcome = Appended | frozenset[UUID]
"""Accepted, or the streams that were stale."""


class Model:
    """The log as one list, and the rules of appending in a dozen lines."""

    def __init__(self) -> None:
        self.log: list[tuple[TenantId, UUID, int, str, UUID]] = []

    def stream(self, stream_id: UUID) -> list[tuple[TenantId, UUID, int, str, UUID]]:
        return [row for row in self.log if row[1] == stream_id]

    def append(self, asked: Origin, appends: tuple[StreamAppend, ...]) -> Outcome:
        rows = [
            (part.tenant_id, part.stream_id, part.expected_version + number, text, asked.command_id)
            for part in appends
            for number, event in enumerate(part.events, 1)
            if isinstance(event, Noted) and (text := event.text)
        ]
        stale = frozenset(
            part.stream_id
            for part in appends
            if (stored := self.stream(part.stream_id), part)
            and (
                len(stored) != part.expected_version or (stored and stored[0][0] != part.tenant_id)
            )
        )
        if not stale:
            first = len(self.log) + 1
            self.log += rows
            return Appended(first_position=first, last_position=len(self.log))
        if all(row in self.log for row in rows):
            places = [self.log.index(row) + 1 for row in rows]
            return Appended(first_position=min(places), last_position=max(places), replayed=True)
        return stale


class LogMachine(RuleBasedStateMachine):
    """Streams are new in every run; positions count from where the run began."""

    submissions: Bundle[Submission] = Bundle("submissions")

    def __init__(self, runner: asyncio.Runner, log: PostgresEventLog) -> None:
        super().__init__()
        self._runner = runner
        self._log = log
        self._model = Model()
        self._streams = [uuid4() for _ in range(STREAMS)]
        self._start = self._length()

    def _length(self) -> int:
        """By appending to a stream of its own: what stands before is not this run's."""
        marked = self._runner.run(self._log.append(origin(), [notes(uuid4(), 0, "start")]))
        return marked.last_position

    async def _append(self, submission: Submission) -> Outcome:
        try:
            appended = await self._log.append(*submission)
        except StaleStream as stale:
            return frozenset(stale.streams)
        return Appended(
            first_position=appended.first_position - self._start,
            last_position=appended.last_position - self._start,
            replayed=appended.replayed,
        )

    def _check(self, *submissions: Submission) -> None:
        """Sent one by one: what the log answers is what the model answers."""
        for submission in submissions:
            assert self._runner.run(self._append(submission)) == self._model.append(*submission)

    def _part(self, number: int, tenant: TenantId, count: int, off_by: int) -> StreamAppend:
        stream_id = self._streams[number]
        expected = max(0, len(self._model.stream(stream_id)) + off_by)
        texts = [f"note {index}" for index in range(count)]
        return notes(stream_id, expected, *texts, tenant_id=tenant)

    @rule(
        target=submissions,
        number=NUMBERS,
        tenant=TENANTS,
        count=st.integers(1, 3),
        off_by=st.sampled_from([0, 0, 0, -1, 1]),
    )
    def append_to_one(self, number: int, tenant: TenantId, count: int, off_by: int) -> Submission:
        submission = (origin(), (self._part(number, tenant, count, off_by),))
        self._check(submission)
        return submission

    @rule(
        target=submissions,
        numbers=st.lists(NUMBERS, min_size=2, max_size=3, unique=True),
        tenants=st.tuples(TENANTS, TENANTS, TENANTS),
        off_by=st.sampled_from([0, 0, 0, -1, 1]),
    )
    def append_to_several(
        self, numbers: list[int], tenants: tuple[TenantId, ...], off_by: int
    ) -> Submission:
        parts = [
            self._part(number, tenant, 2, off_by if number == numbers[0] else 0)
            for number, tenant in zip(numbers, tenants, strict=False)
        ]
        submission = (origin(), tuple(parts))
        self._check(submission)
        return submission

    @rule(submission=submissions)
    def repeat(self, submission: Submission) -> None:
        self._check(submission)

    @rule(target=submissions, earlier=consumes(submissions), number=NUMBERS, tenant=TENANTS)
    def repeat_in_company(
        self, earlier: Submission, number: int, tenant: TenantId
    ) -> MultipleResults[Submission] | Submission:
        """An old command and a new one in one batch; different streams, so in either order."""
        part = self._part(number, tenant, 1, 0)
        if part.stream_id in {append.stream_id for append in earlier[1]}:
            return earlier
        new = (origin(), (part,))

        async def both() -> tuple[Outcome, Outcome]:
            first, second = await asyncio.gather(self._append(earlier), self._append(new))
            return first, second

        assert self._runner.run(both()) == (
            self._model.append(*earlier),
            self._model.append(*new),
        )
        return multiple(earlier, new)

    @precondition(lambda self: bool(self._model.log))
    @rule(number=NUMBERS, tenant=TENANTS)
    def load(self, number: int, tenant: TenantId) -> None:
        stream_id = self._streams[number]
        loaded = self._runner.run(self._log.load(tenant, stream_id))
        assert [(r.tenant_id, r.stream_id, r.version, r.event, r.command_id) for r in loaded] == [
            (owner, stream, version, Noted(text=text), command)
            for owner, stream, version, text, command in self._model.stream(stream_id)
            if owner == tenant
        ]

    def teardown(self) -> None:
        stored = self._runner.run(self._log.read(self._start, 10_000))
        assert [
            (r.position - self._start, r.tenant_id, r.stream_id, r.version, r.command_id)
            for r in stored
        ] == [
            (position, tenant, stream, version, command)
            for position, (tenant, stream, version, _, command) in enumerate(self._model.log, 1)
        ]


def run_machine(database: str, *, examples: int = 30) -> None:
    with asyncio.Runner() as runner:
        log = runner.run(PostgresEventLog.open(database, MAPPER))

        class Machine(LogMachine):
            def __init__(self) -> None:
                super().__init__(runner, log)

        try:
            run_state_machine_as_test(
                Machine,
                settings=settings(
                    max_examples=examples,
                    stateful_step_count=25,
                    deadline=None,
                    database=None,
                    phases=[Phase.generate],
                    print_blob=False,
                ),
            )
        finally:
            runner.run(log.close())


def test_the_log_behaves_like_a_list(database: str) -> None:
    run_machine(database)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("o.command_id = e.command", "o.command_id <> e.command"),
        ("s.version <> stored.stream_version + 1", "s.version <= stored.stream_version"),
        ("OR s.tenant <> stored.tenant_id", ""),
    ],
    ids=["forgets commands", "allows holes", "mixes tenants"],
)
def test_a_log_with_a_planted_bug_does_not(database: str, right: str, wrong: str) -> None:
    """Looks until it finds: a rare bug may not show in the first thirty histories."""
    with psycopg.connect(database, autocommit=True) as connection:
        row = connection.execute("SELECT pg_get_functiondef('append_events'::regproc)").fetchone()
        assert row is not None
        planted = row[0].replace(right, wrong)
        assert planted != row[0]
        connection.execute(planted.encode())
    with pytest.raises(AssertionError):
        run_machine(database, examples=600)
