"""A listening socket with an application behind it, and how it stops without dropping answers."""

import asyncio
import ssl
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, Final, Literal

from uvicorn import Config

from infrastructure.edge.protocol import (
    ASGIApp,
    DeviceProtocol,
    HttpProtocol,
    Limits,
    ListenerState,
)
from infrastructure.edge.revocations import RevokedCertificates

BACKLOG: Final = 2048
FAREWELL_S: Final = 1.0
"""How long a peer may take to answer our close_notify; many never do."""

DEFAULT_LIMITS: Final = Limits()

HttpProtocolFactory = Callable[[Config, ListenerState, dict[str, Any], Limits], HttpProtocol]


def device_protocol(revocations: RevokedCertificates) -> HttpProtocolFactory:
    """The `http_protocol` of a device listener, sharing the registry with its `DeviceTls`."""

    def connect(
        config: Config, state: ListenerState, app_state: dict[str, Any], limits: Limits
    ) -> HttpProtocol:
        return DeviceProtocol(config, state, app_state, limits, revocations)

    return connect


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where there is one; for `asyncio.Runner(loop_factory=new_event_loop)`."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class ListenerFailed(Exception):
    """The address could not be bound, or the application would not start."""


class Listener:
    """One bound address. Made by `serve`.

    This is not uvicorn's `Server`, whose protocols it drives: that one takes the process's
    signals, exits the process when a port is taken, and leaves a handshake 60 seconds.
    """

    def __init__(
        self,
        config: Config,
        *,
        ssl_context: ssl.SSLContext | None,
        http_protocol: HttpProtocolFactory,
        limits: Limits,
        reuse_port: bool,
    ) -> None:
        config.load()
        self._config = config
        self._ssl = ssl_context
        self._protocol = http_protocol
        self._limits = limits
        self._reuse_port = reuse_port
        self._state = ListenerState()
        self._lifespan = config.lifespan_class(config)
        self._server: asyncio.Server | None = None
        self._date: asyncio.TimerHandle | None = None
        self.accepted = 0
        """How many connections have been taken since the start, handshake or not."""

    @property
    def port(self) -> int:
        """The port in use, also when 0 was asked for."""
        if self._server is None or not self.accepting:
            raise ListenerFailed("not listening")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def accepting(self) -> bool:
        """Whether new connections are taken."""
        return self._server is not None and not self._state.draining

    @property
    def connections(self) -> int:
        """How many connections are past their handshake."""
        return len(self._state.connections)

    async def start(self) -> None:
        """Bind and accept. Raises ListenerFailed."""
        await self._lifespan.startup()
        if self._lifespan.should_exit:
            raise ListenerFailed("the application did not start")
        tls: dict[str, Any] = {}
        if self._ssl is not None:
            tls = {
                "ssl": self._ssl,
                "ssl_handshake_timeout": self._limits.handshake_s,
                "ssl_shutdown_timeout": FAREWELL_S,
            }
        loop = asyncio.get_running_loop()
        self._tell_date(loop)
        try:
            self._server = await loop.create_server(
                self._connect,
                self._config.host,
                self._config.port,
                backlog=BACKLOG,
                reuse_port=self._reuse_port,
                **tls,
            )
        except OSError as error:
            await self.stop()
            raise ListenerFailed(f"{self._config.host}:{self._config.port}: {error}") from error

    async def stop(self, *, drain_s: float = 10.0) -> None:
        """Accept nothing new, let running requests finish, then close.

        Idle connections are closed at once, the others after their answer. What is not done
        after `drain_s` seconds is cancelled and its connection aborted.
        """
        self._state.draining = True
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(drain_s):
                await self._drained()
        except TimeoutError:
            await self._abandon()
        if self._date is not None:
            self._date.cancel()
        await self._lifespan.shutdown()

    def _connect(self) -> HttpProtocol:
        self.accepted += 1
        return self._protocol(self._config, self._state, self._lifespan.state, self._limits)

    def _tell_date(self, loop: asyncio.AbstractEventLoop) -> None:
        """The `date` header (RFC 9110 §6.6.1), formatted once a second and not per answer."""
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        self._date = loop.call_later(1.0, self._tell_date, loop)

    async def _drained(self) -> None:
        while self._state.tasks:
            await asyncio.wait(tuple(self._state.tasks))
        while self._state.connections:
            self._state.all_closed.clear()
            await self._state.all_closed.wait()

    async def _abandon(self) -> None:
        for connection in tuple(self._state.connections):
            connection.transport.abort()
        for task in tuple(self._state.tasks):
            task.cancel("the listener is stopping")
        await self._drained()


async def serve(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    ssl_context: ssl.SSLContext | None,
    http_protocol: HttpProtocolFactory = HttpProtocol,
    limits: Limits = DEFAULT_LIMITS,
    lifespan: Literal["on", "off"] = "off",
    reuse_port: bool = False,
) -> Listener:
    """Listen, and come back once connections are accepted; `Listener.stop` ends it.

    The public listener takes `public_context(...)` and the default protocol; the device listener
    `DeviceTls(...).listening` and `device_protocol(revocations)`. Port 0 lets the system choose.
    Signals, logging and the event loop belong to the caller. Neither `server` nor access log,
    no WebSockets, and no header of a proxy is believed. Raises ListenerFailed.
    """
    config = Config(
        app,
        host=host,
        port=port,
        ws="none",
        lifespan=lifespan,
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=limits.keep_alive_s,
    )
    listener = Listener(
        config,
        ssl_context=ssl_context,
        http_protocol=http_protocol,
        limits=limits,
        reuse_port=reuse_port,
    )
    await listener.start()
    return listener
