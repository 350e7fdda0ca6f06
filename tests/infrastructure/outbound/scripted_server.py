"""A real server on loopback that answers byte for byte what a test says."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

Reply = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]] | None
"""Bytes to send, a coroutine that sends them its own way, or None: read and never answer."""


def response(
    status: int = 200, body: bytes = b"{}", *headers: str, content_type: str = "application/json"
) -> bytes:
    lines = [
        f"HTTP/1.1 {status} Scripted",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class ScriptedServer:
    """Gives the replies in turn, one per request, the last one for ever; keeps what was asked."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self._replies = list(replies)
        self.requests: list[bytes] = []
        self.connections = 0
        self.open_connections = 0
        self.changed = asyncio.Condition()
        self.port = 0

    def url(self, path: str = "/authorize", scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something this server sees is so."""
        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(condition)

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        await self._notify()
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                while True:
                    await self._answer_one(reader, writer)
        finally:
            self.open_connections -= 1
            await self._notify()
            writer.transport.abort()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        self.requests.append(head + await reader.readexactly(length))
        await self._notify()
        reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        if reply is None:
            await reader.readexactly(1)
        elif isinstance(reply, bytes):
            writer.write(reply)
            await writer.drain()
        else:
            await reply(writer)


@contextlib.asynccontextmanager
async def scripted(
    *replies: Reply, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[ScriptedServer]:
    """Serve until the block ends; then wait until every connection is gone."""
    scripted_server = ScriptedServer(replies)
    handlers: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        task = asyncio.create_task(scripted_server.serve(reader, writer))
        handlers.add(task)
        task.add_done_callback(handlers.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    scripted_server.port = server.sockets[0].getsockname()[1]
    try:
        yield scripted_server
    finally:
        server.close()
        for task in list(handlers):
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        for writer in writers:
            # A task that was cancelled before its first step has closed nothing.
            writer.transport.abort()
        await server.wait_closed()
