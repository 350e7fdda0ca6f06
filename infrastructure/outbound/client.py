"""The platform's own HTTP client: pinned addresses, one total deadline, bounded answers.

There are no redirects, no cookies, no decompression, no proxy variables and no retries: what a
caller asks is sent once, to an address that the egress guard has checked, or it is not sent.
Why it is not one of the libraries: docs/decisions/0007-outbound-client.md.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from typing import Final

from domain.errors import Invalid
from infrastructure.outbound.egress import EgressGuard, Pinned, Target, Unresolvable
from infrastructure.outbound.http_exchange import (
    Answer,
    FailureKind,
    HttpConnection,
    OutboundFailed,
    serialise,
)

__all__ = ["Answer", "FailureKind", "OutboundClient", "OutboundFailed"]

PIN_S: Final = 5.0
"""How long a checked address is used without asking the resolver again.

It is the checked address that is kept and connected to, so a name that changes its mind in the
meantime is not followed anywhere; the worst that happens is that we call the old address.
"""

IDLE_S: Final = 4.0
"""Below the 5 s after which common servers (uvicorn, Node) close an idle connection: reusing one
in the moment it is closed would be a failed authorize call that nobody may retry."""

PINS_MAX: Final = 4096

Origin = tuple[str, str, int]
"""Scheme, host and port: what a connection may be reused for (RFC 6454)."""


class OutboundClient:
    """One per process and event loop. `connections_max` bounds open sockets, idle ones included."""

    def __init__(
        self,
        guard: EgressGuard,
        *,
        tls: ssl.SSLContext | None = None,
        connections_max: int = 1000,
        pin_s: float = PIN_S,
        idle_s: float = IDLE_S,
    ) -> None:
        self._guard = guard
        self._tls = tls if tls is not None else ssl.create_default_context()
        self._connections_max = connections_max
        self._pin_s = pin_s
        self._idle_s = idle_s
        self._places = asyncio.Semaphore(connections_max)
        self._open: set[HttpConnection] = set()
        self._idle: dict[Origin, deque[HttpConnection]] = {}
        self._idle_order: dict[HttpConnection, Origin] = {}
        self._pins: dict[Origin, tuple[float, Pinned]] = {}
        self._pinning: dict[Origin, asyncio.Task[Pinned]] = {}

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        deadline_s: float,
        max_bytes: int,
    ) -> Answer:
        """Send once and return the whole answer. Raises OutboundFailed, ValueError for bad headers.

        `deadline_s` covers everything: waiting for a free connection, DNS, connecting, TLS, and
        the last byte of the body. When it passes, or the caller is cancelled, the connection is
        aborted. `max_bytes` bounds the body.
        """
        try:
            target = self._guard.read(url)
        except Invalid as error:
            raise OutboundFailed("blocked", False, error.detail or error.code) from error
        request = serialise(method, target.request_target, target.authority, headers, body)
        if deadline_s <= 0:
            raise OutboundFailed("timeout", False, "no time was left to ask")
        ends_at = asyncio.get_running_loop().time() + deadline_s
        try:
            await self._take_place(ends_at)
            try:
                connection = await self._connection(target, ends_at)
                try:
                    return await connection.ask(request, max_bytes, ends_at)
                finally:
                    self._put_back(target, connection)
            finally:
                self._places.release()
        except TimeoutError as error:
            raise OutboundFailed("timeout", False, "the deadline passed") from error

    async def close(self) -> None:
        """End every connection; requests under way fail as `connect`."""
        for task in self._pinning.values():
            task.cancel()
        connections = list(self._open)
        for connection in connections:
            connection.abort()
        await asyncio.gather(*(connection.lost for connection in connections))

    async def _take_place(self, ends_at: float) -> None:
        """Raises TimeoutError."""
        if self._places.locked():
            async with asyncio.timeout_at(ends_at):
                await self._places.acquire()
        else:
            await self._places.acquire()  # does not wait, and needs no deadline

    async def _connection(self, target: Target, ends_at: float) -> HttpConnection:
        """One at hand, or else a new one. Raises TimeoutError, OutboundFailed."""
        origin = (target.scheme, target.host, target.port)
        now = asyncio.get_running_loop().time()
        kept = self._pins.get(origin)
        if kept is not None and kept[0] > now:
            connection = self._at_hand(origin, kept[1], now)
            if connection is not None:
                return connection
        async with asyncio.timeout_at(ends_at):
            pinned = await self._pin(origin, target)
            return self._at_hand(origin, pinned, now) or await self._connect(pinned)

    def _at_hand(self, origin: Origin, pinned: Pinned, now: float) -> HttpConnection | None:
        """An idle connection that is fit for another question; those that are not are ended."""
        waiting = self._idle.get(origin)
        oldest = now - self._idle_s
        while waiting:
            connection = waiting.pop()
            del self._idle_order[connection]
            fresh = connection.idle_since >= oldest and connection.address in pinned.addresses
            if fresh and connection.is_quiet:
                connection.sent = False
                connection.status = None
                return connection
            connection.abort()
        self._idle.pop(origin, None)
        return None

    async def _pin(self, origin: Origin, target: Target) -> Pinned:
        kept = self._pins.get(origin)
        now = asyncio.get_running_loop().time()
        if kept is not None and kept[0] > now:
            return kept[1]
        # One look-up for all who wait: a cold start must not fill the resolver's threads.
        task = self._pinning.get(origin)
        if task is None:
            task = asyncio.create_task(self._guard.pin_target(target))
            self._pinning[origin] = task
            task.add_done_callback(lambda done: self._pinned(origin, done))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise OutboundFailed("connect", False, "the client is closing") from None
            raise
        except Invalid as error:
            raise OutboundFailed("blocked", False, error.detail or error.code) from error
        except Unresolvable as error:
            raise OutboundFailed("connect", False, str(error)) from error

    def _pinned(self, origin: Origin, done: asyncio.Task[Pinned]) -> None:
        del self._pinning[origin]
        if done.cancelled() or done.exception() is not None:
            return
        if len(self._pins) >= PINS_MAX:
            self._pins.clear()
        self._pins[origin] = (asyncio.get_running_loop().time() + self._pin_s, done.result())

    async def _connect(self, pinned: Pinned) -> HttpConnection:
        if len(self._open) >= self._connections_max and self._idle_order:
            self._discard(next(iter(self._idle_order)))
        failure: OSError | None = None
        for address in pinned.addresses:
            try:
                connection = await self._connect_to(address, pinned)
            except OSError as error:
                failure = error
            else:
                return connection
        what = "TLS failed" if isinstance(failure, ssl.SSLError) else "no connection"
        raise OutboundFailed("connect", False, f"{what} ({type(failure).__name__})") from failure

    async def _connect_to(self, address: str, pinned: Pinned) -> HttpConnection:
        secure = pinned.scheme == "https"
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: HttpConnection(address, self._lost),
            address,
            pinned.port,
            ssl=self._tls if secure else None,
            server_hostname=pinned.host if secure else None,
        )
        if connection.is_open:
            self._open.add(connection)
        return connection

    def _put_back(self, target: Target, connection: HttpConnection) -> None:
        """Keep a connection whose answer was complete; end every other one."""
        if not (connection.reusable and connection.is_open):
            connection.abort()
            return
        now = asyncio.get_running_loop().time()
        origin = (target.scheme, target.host, target.port)
        connection.idle_since = now
        self._idle.setdefault(origin, deque()).append(connection)
        self._idle_order[connection] = origin
        oldest = next(iter(self._idle_order))
        if oldest.idle_since < now - self._idle_s:
            self._discard(oldest)

    def _discard(self, connection: HttpConnection) -> None:
        self._forget_idle(connection)
        connection.abort()

    def _forget_idle(self, connection: HttpConnection) -> None:
        origin = self._idle_order.pop(connection, None)
        if origin is not None:
            waiting = self._idle[origin]
            waiting.remove(connection)
            if not waiting:
                del self._idle[origin]

    def _lost(self, connection: HttpConnection) -> None:
        self._open.discard(connection)
        self._forget_idle(connection)
