"""The sweeper: decides what nobody finished (reference broker.md §4.3).

A device that never comes back leaves an intent without a decision, and perhaps a charge that
nobody saw. Where to look is a hint from outside; what is true is read from the log, and the
expected version of the append is the fence against a device that comes back after all.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from application.ports import (
    Clock,
    CommitFailed,
    EventLog,
    IdSource,
    StaleStream,
    Undecided,
    UndecidedTransactions,
)
from domain import transaction as x
from domain.errors import Unavailable
from domain.events import Origin, StreamAppend

ACTOR: Final = "system:sweeper"
SWEPT_AT_ONCE: Final = 500


class Sweeper:
    """`interrupted` is told of each transaction that cannot be closed, and of why."""

    def __init__(
        self,
        log: EventLog,
        undecided: UndecidedTransactions,
        clock: Clock,
        ids: IdSource,
        interrupted: Callable[[Undecided, Exception], None],
    ) -> None:
        self._log = log
        self._undecided = undecided
        self._clock = clock
        self._ids = ids
        self._interrupted = interrupted

    async def sweep(self) -> int:
        """Close what is overdue, each with a void owed; how many were closed.

        One that fails by itself keeps no other open. Raises CommitFailed and Unavailable; what
        was not closed is found again.
        """
        before = self._clock.now() - x.SWEEP_GRACE
        found = await self._undecided.overdue(before, SWEPT_AT_ONCE)
        # Together, so that they share commits.
        closing = (self._close(each) for each in found)
        closed = await asyncio.gather(*closing, return_exceptions=True)
        away: Exception | None = None
        for each, outcome in zip(found, closed, strict=True):
            if isinstance(outcome, CommitFailed | Unavailable):
                away = outcome
            elif isinstance(outcome, Exception):
                self._interrupted(each, outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
        if away is not None:
            raise away
        return sum(each is True for each in closed)

    async def _close(self, found: Undecided) -> bool:
        past = await self._log.load(found.tenant_id, found.transaction_id)
        transaction = x.rebuild(past)
        events = [] if transaction is None else x.abandon(transaction, self._clock.now())
        if not events:
            return False
        append = StreamAppend(
            tenant_id=found.tenant_id,
            stream_id=found.transaction_id,
            expected_version=len(past),
            events=events,
        )
        origin = Origin(
            actor=ACTOR, correlation_id=past[0].correlation_id, command_id=self._ids.uuid()
        )
        try:
            await self._log.append(origin, [append])
        except StaleStream:
            # A device came back and took it over, or another sweeper was first.
            return False
        return True
