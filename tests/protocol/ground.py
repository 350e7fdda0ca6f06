"""The real log under a history: opened, furnished, and run from code that is not asynchronous."""

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

from domain.catalogue import EVENTS, UPCASTERS
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.event_log.mapper import EventMapper
from tests.protocol.scene import furnish

T = TypeVar("T")


class Ground:
    """Nothing runs but while `run` does, so a history waits while the next step is drawn."""

    def __init__(self, runner: asyncio.Runner, log: PostgresEventLog) -> None:
        self._runner = runner
        self.log = log
        self.histories = 0
        """How many were drawn on this ground."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)


@contextmanager
def opened(dsn: str) -> Generator[Ground]:
    """A migrated database, furnished."""
    with asyncio.Runner() as runner:
        log = runner.run(PostgresEventLog.open(dsn, EventMapper(EVENTS, UPCASTERS)))
        runner.run(furnish(log))
        yield Ground(runner, log)
        runner.run(log.close())
