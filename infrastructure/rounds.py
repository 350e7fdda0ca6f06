"""Something that is done again and again, by one process of all that could.

A lock in the database says whose turn it is; who holds it keeps it for as long as its connection
lives, and another process takes over when that one is gone. A process that stands still gives it
up, too: the server ends a session that says nothing for `frozen_s`. Work must be safe to be cut
off and to be done twice: a process that stood still goes on with its round until it notices.
"""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Self

import psycopg
import structlog
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import PoolTimeout

from application.ports import CommitFailed
from domain.errors import Unavailable
from infrastructure.database import APP_ROLE, Connection, acting_as
from infrastructure.endings import end
from infrastructure.speaking import speaking

# Any number will do that no other advisory lock of ours begins with.
_ROUNDS: Final = 7310590
_CONNECT_TIMEOUT_S: Final = 5
FROZEN_S: Final = 60.0
"""After so long without a word from us the server gives our turn to another process."""

_PASSES: Final = (
    CommitFailed,
    Unavailable,
    PoolTimeout,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
)
"""The database is away for a while, and the next round will do."""

_log = structlog.get_logger(__name__)


class Rounds:
    """`async with Rounds(...)`: does `work` every `every_s` seconds while it is our turn.

    `name` tells one kind of rounds from another, in all processes. The first round begins at
    once. What `work` raises and does not pass by itself is a bug, and ends the rounds.
    """

    def __init__(
        self,
        dsn: str,
        name: str,
        every_s: float,
        work: Callable[[], Awaitable[Any]],
        frozen_s: float = FROZEN_S,
    ) -> None:
        given = conninfo_to_dict(acting_as(dsn, APP_ROLE))
        given["options"] = f"{given['options']} -c idle_session_timeout={int(frozen_s * 1000)}"
        self._dsn = make_conninfo("", **given)
        self._speak_s = frozen_s / 4
        self._name = name
        self._every_s = every_s
        self._work = work
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=f"rounds {self._name}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; a round that is under way is cut off. Raises what ended them before, if a bug."""
        task, self._task = self._task, None
        if task is not None:
            await end([task])
            if not task.cancelled():
                task.result()

    async def until_failure(self) -> None:
        """Return only by raising what ended the rounds: a bug, for the process to die of."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def _run(self) -> None:
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(
                    self._dsn, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S
                )
                async with connection:
                    await self._take_turns(connection)
            except _PASSES as error:
                _log.warning("rounds_interrupted", rounds=self._name, error=type(error).__name__)
            await asyncio.sleep(self._every_s)

    async def _take_turns(self, connection: Connection) -> None:
        """Stand by and do rounds, for as long as the connection lives."""
        ours = False
        while True:
            # Asking for what we hold would take it once more; asking nothing hides a lost line.
            query = "SELECT true" if ours else "SELECT pg_try_advisory_lock(%s, hashtext(%s))"
            parameters = () if ours else (_ROUNDS, self._name)
            ours = await (await connection.execute(query, parameters)).fetchone() == (True,)
            if ours:
                await speaking(connection, self._work(), self._speak_s)
            await speaking(connection, asyncio.sleep(self._every_s), self._speak_s)
