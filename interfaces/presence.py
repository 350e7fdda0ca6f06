"""Who serves a database: many processes with a Redis between them, or a single one without.

Budgets are shared through Redis; two processes without it would each count to the whole budget.
A lock in the database says who is here, shared by those with a Redis, exclusive otherwise. It ends
with its connection, so it is watched and taken again.
"""

import asyncio
from typing import Any, Final, Self

import psycopg
import structlog
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from infrastructure.database import PATIENCE, Connection
from interfaces.servers import RedisRequired

PRESENCE_LOCK: Final = 7_301_101
LOOK_EVERY_S: Final = 2.0
_AGAIN_AFTER_S: Final = 0.5
_TRIES: Final = 6
_GONE_WITHIN_MS: Final = 5_000

_WHO: Final = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_END: Final = """
    SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity
    WHERE pid = %s AND backend_start = %s
"""

_log = structlog.get_logger(__name__)


class Presence:
    """Held while the block runs. Raises RedisRequired on entering when it is not to be had."""

    def __init__(self, dsn: str, *, shared: bool, look_every_s: float = LOOK_EVERY_S) -> None:
        given: dict[str, Any] = PATIENCE | conninfo_to_dict(dsn)
        self._conninfo = make_conninfo("", **given)
        take = "pg_try_advisory_lock_shared" if shared else "pg_try_advisory_lock"
        self._take = sql.SQL("SELECT {}(%s)").format(sql.Identifier(take))
        self._look_every_s = look_every_s
        self.connection: Connection | None = None
        self._session: tuple[object, ...] | None = None

    async def __aenter__(self) -> Self:
        await self._enter()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._leave()

    async def until_refused(self) -> None:
        """Watch the lock and take it again when it was lost; return only by raising RedisRequired.

        That is raised when another process took it meanwhile: one of the two must end.
        """
        while True:
            await asyncio.sleep(self._look_every_s)
            try:
                if self.connection is None:
                    await self._enter()
                    _log.info("presence_taken_again")
                else:
                    await self.connection.execute("SELECT 1")
            except psycopg.Error as error:
                _log.warning("presence_lost", error=type(error).__name__)
                await self._leave()
                await asyncio.sleep(_AGAIN_AFTER_S)

    async def _enter(self) -> None:
        connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        try:
            await self._lock(connection)
            self._session = await (await connection.execute(_WHO)).fetchone()
        except BaseException:
            await connection.close()
            raise
        self.connection = connection

    async def _lock(self, connection: Connection) -> None:
        if self._session is not None:
            # Where only the line was lost, the server may keep our old session for hours.
            await connection.execute(_END, (_GONE_WITHIN_MS, *self._session))
        for _ in range(_TRIES):
            taken = await (await connection.execute(self._take, (PRESENCE_LOCK,))).fetchone()
            if taken is not None and taken[0]:
                return
            # A process that has ended leaves its session to the server for a moment.
            await asyncio.sleep(_AGAIN_AFTER_S)
        raise RedisRequired(
            "another process serves this database, and one of the two has no Redis:"
            " give both the same LINK_REDIS_URL, or stop the other"
        )

    async def _leave(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            await connection.close()
