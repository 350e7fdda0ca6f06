"""One keep-alive connection of a device: HTTP/1.1 over TLS with as little of both as is needed."""

import asyncio
import itertools
import re
import ssl
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

CONNECT_S: Final = 15.0
_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3}) ")


class NotSent(Exception):
    """There was no connection, so the platform cannot have heard of the request."""


class Lost(Exception):
    """The request was sent and no whole answer came back: anything may have happened."""


class Reply(msgspec.Struct, frozen=True):
    """A whole answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Wire:
    """Asks over one connection, which is made anew after it was lost: at the next of the ports."""

    def __init__(
        self, ports: Sequence[int], first: int, tls: ssl.SSLContext, patience_s: float
    ) -> None:
        self._ports = itertools.cycle([*ports[first % len(ports) :], *ports[: first % len(ports)]])
        self._tls = tls
        self._patience_s = patience_s
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes) -> Reply:
        """Raises NotSent and Lost."""
        return await self._ask(
            b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)
        )

    async def get(self, path: str) -> Reply:
        """Raises NotSent and Lost."""
        return await self._ask(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode())

    async def _ask(self, request: bytes) -> Reply:
        reader, writer = await self._connected()
        try:
            async with asyncio.timeout(self._patience_s):
                writer.write(request)
                await writer.drain()
                return await _reply(reader)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self.drop()
            raise Lost(repr(error)) from error

    def drop(self) -> None:
        """Close the connection without ceremony."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            try:
                async with asyncio.timeout(min(CONNECT_S, self._patience_s)):
                    self._streams = await asyncio.open_connection(
                        "127.0.0.1", next(self._ports), ssl=self._tls, server_hostname="localhost"
                    )
            except (OSError, TimeoutError) as error:
                raise NotSent(repr(error)) from error
        return self._streams


async def _reply(reader: asyncio.StreamReader) -> Reply:
    head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    status = _STATUS.match(head[0])
    if status is None:
        raise ValueError(f"no status line: {head[0]!r}")
    headers = {
        name.decode().lower(): value.strip().decode()
        for name, _, value in (line.partition(b":") for line in head[1:] if line)
    }
    return Reply(int(status[1]), headers, await reader.readexactly(int(headers["content-length"])))
