"""Runs an ASGI application inside a program that goes on with something else meanwhile."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn


class _Server(uvicorn.Server):
    """Says when it listens, and leaves the program's signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@asynccontextmanager
async def serving(app: Any, port: int = 0) -> AsyncGenerator[str, None]:
    """The application's URL on loopback for as long as the block lasts; port 0 picks a free one."""
    listener = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    started = asyncio.create_task(server.listening.wait())
    try:
        await asyncio.wait({running, started}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        started.cancel()
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await running
        listener.close()
