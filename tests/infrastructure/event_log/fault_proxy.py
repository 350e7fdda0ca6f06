"""A relay before Postgres that cuts the line exactly where it hurts: after the work, before the
answer."""

import asyncio
from types import TracebackType
from typing import Any, Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class FaultProxy:
    """`async with FaultProxy(dsn) as proxy`: connect through `proxy.dsn`.

    After `lose_answers(n)` the next n answers of the server are swallowed and their connections
    cut, so that the server has done its work and nobody has heard of it. `refuse()` cuts all
    connections and takes no new ones until `accept()`.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._to_lose = 0
        self._refusing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._relays: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.lost = 0
        self.dsn = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.dsn = make_conninfo(
            self._dsn, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable"
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        self._cut_all()
        if self._relays:
            await asyncio.wait(self._relays)

    def lose_answers(self, count: int) -> None:
        self._to_lose = count

    def refuse(self) -> None:
        self._refusing = True
        self._cut_all()

    def accept(self) -> None:
        self._refusing = False

    def _cut_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        upstream_reader, upstream_writer = await self._upstream()
        self._writers |= {writer, upstream_writer}
        both = [
            asyncio.create_task(self._relay(reader, upstream_writer, from_server=False)),
            asyncio.create_task(self._relay(upstream_reader, writer, from_server=True)),
        ]
        self._relays |= set(both)
        await asyncio.wait(both)
        self._relays -= set(both)
        for end in (writer, upstream_writer):
            end.transport.abort()
            self._writers.discard(end)

    async def _upstream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        given: dict[str, Any] = conninfo_to_dict(self._dsn)
        host, port = str(given["host"]), int(given.get("port", 5432))
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_server: bool
    ) -> None:
        try:
            while data := await reader.read(65536):
                if from_server and self._to_lose:
                    self._to_lose -= 1
                    self.lost += 1
                    break
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass  # a cut is what this proxy is for
        finally:
            writer.transport.abort()
