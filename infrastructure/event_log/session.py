"""One dedicated connection to Postgres that comes back by itself when it is lost.

The log's writer, its loader and its tail each own one. A call is sent again over a fresh
connection until a deadline, so every statement sent through here must be safe to repeat:
reads are, and the append function is by its command ids.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence
from typing import Any, Final, LiteralString

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from infrastructure.database import Connection, acting_as
from infrastructure.event_log.statements import Parameter, Statements

_BACK_OFF_FIRST_S: Final = 0.01
_BACK_OFF_MAX_S: Final = 0.5

# A plan may outlive the small table that it was made for; every query of the log has an index.
_PLANNING: Final = "-c enable_seqscan=off -c timezone=UTC"

_CONNECTION_TROUBLE: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    # A standby that took the connection over is not (yet) the primary.
    psycopg.errors.ReadOnlySqlTransaction,
    TimeoutError,
)


class ConnectionLost(Exception):
    """No answer before the deadline; whether the server acted is not known."""


class Session:
    """Sends one statement at a time as `role`; `on_connect` is run on every new connection."""

    def __init__(self, dsn: str, role: str, *, on_connect: LiteralString | None = None) -> None:
        given: dict[str, Any] = conninfo_to_dict(acting_as(dsn, role))
        given["options"] = f"{given['options']} {_PLANNING}"
        given["client_encoding"] = "UTF8"
        self._conninfo = make_conninfo("", **given)
        self._on_connect: LiteralString | None = on_connect
        self._connection: Connection | None = None
        self._statements: Statements | None = None

    async def open(self) -> None:
        """Connect now, so that a wrong address or role shows at start. Raises psycopg.Error."""
        await self._connected()

    async def close(self) -> None:
        connection, self._connection, self._statements = self._connection, None, None
        if connection is not None:
            await connection.close()

    async def fetch(
        self, query: LiteralString, parameters: Sequence[Parameter], *, within_s: float
    ) -> list[TupleRow]:
        """All rows of one prepared statement.

        Raises ConnectionLost after `within_s` seconds without an answer, psycopg.Error when
        the server refuses the statement.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        pause = _BACK_OFF_FIRST_S
        while True:
            watch = loop.call_later(deadline - loop.time(), self._cut)
            try:
                statements = self._statements
                if statements is None:
                    async with asyncio.timeout_at(deadline):
                        statements = await self._connected()
                return await statements.fetch(query, parameters)
            except _CONNECTION_TROUBLE as error:
                await self.close()
                if loop.time() + pause >= deadline:
                    raise ConnectionLost(str(error)) from error
            finally:
                watch.cancel()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _BACK_OFF_MAX_S)

    async def notified(self, within_s: float) -> None:
        """Return at the first notification, or after `within_s`. Raises psycopg.Error."""
        await self._connected()
        connection = self._connection
        if connection is not None:
            async for _ in connection.notifies(timeout=within_s, stop_after=1):
                pass

    async def _connected(self) -> Statements:
        if self._statements is None:
            connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
            self._connection = connection
            if self._on_connect is not None:
                await connection.execute(self._on_connect)
            self._statements = Statements(connection)
        return self._statements

    def _cut(self) -> None:
        """End a call that does not come back: the waiting side sees the connection close."""
        if self._connection is None:
            return
        with (
            contextlib.suppress(OSError, psycopg.Error),  # already closed: as wanted
            socket.socket(fileno=os.dup(self._connection.fileno())) as wire,
        ):
            wire.shutdown(socket.SHUT_RDWR)
