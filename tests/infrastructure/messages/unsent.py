"""What every channel's tests share: a code that is refused, and servers that do not answer."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import pytest
from structlog.testing import capture_logs

from application.ports import OtpSender
from domain.errors import Unavailable

MOBILE = "+966500000001"
ADDRESS = "sara@example.com"
CODE = "735102"


async def refused(sender: OtpSender, destination: str = MOBILE) -> list[str]:
    """The reasons logged for a code that could not be sent, each line searched for secrets."""
    with capture_logs() as logs, pytest.raises(Unavailable) as unavailable:
        await sender.send(destination, CODE, "en")
    assert unavailable.value.code == "otp_not_sent"
    assert unavailable.value.__context__ is None
    assert [entry["event"] for entry in logs] == ["otp_not_sent"]
    assert CODE not in str(logs)
    assert destination.strip("+") not in str(logs)
    return [entry["reason"] for entry in logs]


async def free_port() -> int:
    """A port on which nobody listens any more."""
    listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = int(listener.sockets[0].getsockname()[1])
    listener.close()
    await listener.wait_closed()
    return port


@asynccontextmanager
async def hanging_server() -> AsyncGenerator[int]:
    """The port of a server that accepts and never says a word, until its callers have left."""
    calls: list[asyncio.Task[None]] = []

    async def listen_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    listener = await asyncio.start_server(
        lambda reader, writer: calls.append(asyncio.create_task(listen_only(reader, writer))),
        *("127.0.0.1", 0),
    )
    async with listener:
        yield int(listener.sockets[0].getsockname()[1])
        await asyncio.gather(*calls)
