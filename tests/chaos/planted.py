"""The platform with one bug planted, which the harness has to catch or its verdict is void.

    python -m tests.chaos.planted BUG serve --json

Each is a way to get it wrong that has happened to somebody. What is replaced is replaced in the
composition of this process (or in the database of this run) and nowhere in the product's code.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Literal, cast
from unittest.mock import patch
from uuid import UUID

import msgspec
import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from application.ports import StaleStream
from application.transactions.asked import Asked
from application.transactions.decisions import Decisions
from application.transactions.take_over import TakeOvers
from domain import transaction as x
from domain.events import DomainEvent, Sealed
from domain.ids import TransactionId
from interfaces import process, use_cases
from interfaces.cli import main as command_line

Fault = Literal[
    "platform",
    "backend",
    "postmaster",
    "power",
    "cut",
    "freeze",
    "fsync",
    "disk",
    "redis_killed",
    "redis_flushed",
    "redis_frozen",
    "product",
]


class AnswersBeforeCommit(Decisions):
    """Commits the decision after the device has been told: 'it is only a few milliseconds'."""

    _later: set[asyncio.Task[None]]

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._later = set()

    async def decide(
        self,
        asked: Asked,
        transaction: x.Transaction,
        before: Sequence[DomainEvent],
        decision: x.Decision,
        sealed: Sealed | None = None,
    ) -> x.Transaction:
        events: list[DomainEvent] = [*before, *x.decide(transaction, decision)]
        task = asyncio.create_task(self.append(asked, transaction.version, events, sealed))
        self._later.add(task)
        task.add_done_callback(self._later.discard)
        return msgspec.structs.replace(
            transaction, decision=decision, version=transaction.version + len(events)
        )


class CallsBeforeIntent(Decisions):
    """Saves a commit: the intent goes into the log together with the decision."""

    _held: dict[TransactionId, tuple[int, Sequence[DomainEvent]]]

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._held = {}

    async def append(
        self,
        asked: Asked,
        expected_version: int,
        events: Sequence[DomainEvent],
        sealed: Sealed | None = None,
        unless_begun: UUID | None = None,
    ) -> None:
        if isinstance(events[-1], x.TransactionAuthorizationRequested):
            self._held[asked.id] = (expected_version, events)
            return
        version, before = self._held.pop(asked.id, (expected_version, ()))
        await super().append(asked, version, [*before, *events], sealed, unless_begun)


class OpensInVain(Decisions):
    """Takes the silence of a product that fails closed for a yes."""

    async def decide(
        self,
        asked: Asked,
        transaction: x.Transaction,
        before: Sequence[DomainEvent],
        decision: x.Decision,
        sealed: Sealed | None = None,
    ) -> x.Transaction:
        if isinstance(decision, x.TransactionFailedClosed):
            decision = x.TransactionAllowed(
                ttl_seconds=30,
                authorize_ms=0.0,
                decided_at=decision.decided_at,
                total_ms=decision.total_ms,
            )
        return await super().decide(asked, transaction, before, decision, sealed)


class Unfenced(Decisions):
    """Writes down what it found out, whoever has decided meanwhile."""

    async def append(
        self,
        asked: Asked,
        expected_version: int,
        events: Sequence[DomainEvent],
        sealed: Sealed | None = None,
        unless_begun: UUID | None = None,
    ) -> None:
        while True:
            try:
                return await super().append(asked, expected_version, events, sealed, unless_begun)
            except StaleStream as stale:
                if unless_begun in stale.streams:
                    raise
                expected_version = len(await self._log.load(asked.tenant.id, asked.id))


class FreshProductKey(TakeOvers):
    """Asks the product under another key when it asks again."""

    def _again(
        self, asked: Asked, intent: x.TransactionAuthorizationRequested
    ) -> x.TransactionAuthorizationRequested:
        again = super()._again(asked, intent)
        key = f"{intent.product_idempotency_key}-{again.epoch}"
        return msgspec.structs.replace(again, product_idempotency_key=key)


class ForgetsTheVoid(Decisions):
    """Closes a transaction without a word about the product, which may have said yes."""

    async def decide(
        self,
        asked: Asked,
        transaction: x.Transaction,
        before: Sequence[DomainEvent],
        decision: x.Decision,
        sealed: Sealed | None = None,
    ) -> x.Transaction:
        if isinstance(decision, x.TransactionFailedClosed):
            decision = msgspec.structs.replace(decision, void_needed=False)
        return await super().decide(asked, transaction, before, decision, sealed)


def _in_the_place_of(
    name: Literal["Decisions", "TakeOvers"], kind: type[Decisions | TakeOvers]
) -> Callable[[], AbstractContextManager[object]]:
    return lambda: patch.object(use_cases, name, kind)


def _no_questions_asked() -> AbstractContextManager[object]:
    def assert_nothing(connection: psycopg.Connection[TupleRow]) -> None:
        """The real one refuses this database, which the harness sees first."""

    return patch.object(process, "assert_durable", assert_nothing)


def lazy_commits(connection: psycopg.Connection[TupleRow], database: str) -> None:
    """Commits that are answered before they are on the disk."""
    connection.execute(
        sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(sql.Identifier(database))
    )


def forgetful_append(connection: psycopg.Connection[TupleRow], database: str) -> None:
    """An append function that does not know its own command when it sees it again."""
    row = connection.execute("SELECT pg_get_functiondef('append_events'::regproc)").fetchone()
    definition = "" if row is None else str(row[0])
    forgetful = definition.replace("o.command_id = e.command", "o.command_id <> e.command")
    assert forgetful != definition, "append_events has changed, plant the bug anew"
    connection.execute(forgetful.encode())


class Bug(msgspec.Struct, frozen=True, kw_only=True):
    """How a bug is planted, what brings it to light, and which findings give it away."""

    faults: tuple[Fault, ...]
    shows_as: tuple[str, ...]
    process: Callable[[], AbstractContextManager[object]] = nullcontext
    database: Callable[[psycopg.Connection[TupleRow], str], None] | None = None
    platforms: int = 1
    line: bool = False
    refused_at_start: bool = False
    """The real entry point must not run with this one."""


BUGS: Final[Mapping[str, Bug]] = {
    "answer_before_commit": Bug(
        faults=("power",),
        shows_as=("lost", "uncommitted_allows"),
        process=_in_the_place_of("Decisions", AnswersBeforeCommit),
    ),
    "call_before_intent": Bug(
        faults=("platform",),
        shows_as=("calls_without_intent",),
        process=_in_the_place_of("Decisions", CallsBeforeIntent),
    ),
    "fresh_product_key": Bug(
        faults=("platform",),
        shows_as=("extra_charges",),
        process=_in_the_place_of("TakeOvers", FreshProductKey),
    ),
    "no_fence": Bug(
        faults=("freeze",),
        shows_as=("second_decisions", "nonsense"),
        process=_in_the_place_of("Decisions", Unfenced),
        platforms=2,
    ),
    "opens_in_vain": Bug(
        faults=("product",),
        shows_as=("opened_in_vain",),
        process=_in_the_place_of("Decisions", OpensInVain),
        line=True,
    ),
    "no_void_mark": Bug(
        faults=("platform",),
        shows_as=("unmarked_orphans",),
        process=_in_the_place_of("Decisions", ForgetsTheVoid),
    ),
    "synchronous_commit_off": Bug(
        faults=("postmaster",),
        shows_as=("lost", "rewound"),
        process=_no_questions_asked,
        database=lazy_commits,
        refused_at_start=True,
    ),
    "no_command_id": Bug(faults=("cut",), shows_as=("false_conflicts",), database=forgetful_append),
}


def main() -> None:
    bug = BUGS[sys.argv.pop(1)]
    with cast("AbstractContextManager[None]", bug.process()):
        command_line()


if __name__ == "__main__":
    main()
