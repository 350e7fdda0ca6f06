"""One TLS connection that a device keeps open: to see when, and how, the platform ends it."""

import asyncio
import contextlib
import ssl
from typing import Self
from urllib.parse import urlsplit

from examples.device_simulator.credentials import Credentials
from examples.device_simulator.refusals import CLOSED, ConnectionRefused, tls_alert


class OpenConnection:
    """A keep-alive connection that has had an answer: both sides are through the handshake.

    In TLS 1.3 a client is done with the handshake before the server has looked at its
    certificate, so only an answer proves that a device was let in.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: int
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.status = status
        """The HTTP status of the first answer."""

    @classmethod
    async def open(cls, credentials: Credentials) -> Self:
        """Connect and ask for a page that is not there.

        Raises ConnectionRefused when the platform will not have us, OSError when nobody listens.
        """
        url = urlsplit(credentials.device_api)
        host, port = url.hostname or "", url.port or 443
        reader, writer = await _dial(host, port, credentials)
        try:
            return cls(reader, writer, await _ask(reader, writer, url.netloc))
        except (OSError, asyncio.IncompleteReadError) as error:
            await _close(writer)
            raise ConnectionRefused(tls_alert(error) or CLOSED) from error

    async def ended(self) -> None:
        """Return when the platform has ended the connection; what it still says is not read."""
        try:
            while await self._reader.read(4096):
                pass
        except OSError:
            # Ended by an alert or a reset: ended all the same.
            return

    async def close(self) -> None:
        await _close(self._writer)


async def _dial(
    host: str, port: int, credentials: Credentials
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        return await asyncio.open_connection(host, port, ssl=credentials.tls())
    except ssl.SSLError as error:
        alert = tls_alert(error)
        if alert is None:
            raise
        raise ConnectionRefused(alert) from error


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> int:
    writer.write(f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status, *lines = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines if ": " in line)
    await reader.readexactly(int(headers.get("content-length", "0")))
    return int(status.split(" ")[1])


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    # How a connection ended that we have no more use for is of no interest.
    with contextlib.suppress(OSError):
        await writer.wait_closed()
