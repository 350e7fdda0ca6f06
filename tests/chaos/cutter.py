"""The line between platform and PostgreSQL, which is cut after a commit and before its answer.

    python -m tests.chaos.cutter PORT SOCKET

`{"cut": n}` loses the next n answers to committed appends, each together with its connection.
Ends when its standard input does, after saying how many it has cut.
"""

import asyncio
import re
import sys
from typing import Final

import msgspec

from infrastructure.edge.listeners import new_event_loop
from tests.chaos.children import stdin_lines, tell

APPEND: Final = b"append_events("
_COMMITTED: Final = re.compile(rb"SELECT \d+\0Z\0\0\0\x05I\Z")
"""CommandComplete, then ReadyForQuery outside a transaction: the commit is behind it."""


class Cutter:
    """Relays every connection to the server's socket."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._to_cut = 0
        self.cut = 0

    def arm(self, count: int) -> None:
        self._to_cut += count

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_unix_connection(self._socket)
        except OSError:  # the server is down, which the platform is to see as it would without us
            writer.transport.abort()
            return
        appends = asyncio.Event()
        try:
            # Whichever side ends first ends both.
            await asyncio.wait(
                (
                    asyncio.create_task(self._questions(reader, to_server, appends)),
                    asyncio.create_task(self._answers(from_server, writer, appends)),
                ),
            )
        finally:
            writer.transport.abort()
            to_server.transport.abort()

    async def _questions(
        self, reader: asyncio.StreamReader, to_server: asyncio.StreamWriter, appends: asyncio.Event
    ) -> None:
        try:
            while data := await reader.read(1 << 16):
                if APPEND in data:
                    appends.set()
                to_server.write(data)
                await to_server.drain()
        except OSError:
            return
        finally:
            to_server.transport.abort()

    async def _answers(
        self,
        from_server: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        appends: asyncio.Event,
    ) -> None:
        try:
            while data := await from_server.read(1 << 16):
                if self._to_cut and appends.is_set() and _COMMITTED.search(data):
                    self._to_cut -= 1
                    self.cut += 1
                    return
                writer.write(data)
                await writer.drain()
        except OSError:
            return
        finally:
            writer.transport.abort()


async def run(port: int, socket: str) -> None:
    cutter = Cutter(socket)
    server = await asyncio.start_server(cutter.serve, "127.0.0.1", port)
    tell({"event": "started"})
    orders = await stdin_lines()
    while line := await orders.readline():
        order = msgspec.json.decode(line, type=dict[str, int])
        cutter.arm(order.get("cut", 0))
        tell({"cut": cutter.cut})
    server.close()


def main() -> None:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run(int(sys.argv[1]), sys.argv[2]))


if __name__ == "__main__":
    main()
