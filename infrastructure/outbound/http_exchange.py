"""One HTTP/1.1 connection, and one question and answer at a time on it (RFC 9112).

The parsing is that of llhttp (through httptools). What is ours is the bookkeeping around it:
what has left us, how much came back, and whether the connection is fit for another question.
"""

import asyncio
import re
import select
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, Literal, cast

import httptools
import msgspec

HEAD_BYTES_MAX: Final = 32 * 1024
"""For the status line, headers, trailers and chunk framing of one answer, all together."""

METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_OURS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade"})
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?|")

FailureKind = Literal["timeout", "connect", "blocked", "protocol", "too_large"]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back. Header names are lower case; a repeated header is joined by ", "."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class OutboundFailed(Exception):
    """No complete answer.

    `timeout`: the total deadline passed. `connect`: no connection, no TLS, or it broke off.
    `blocked`: the egress guard refuses the URL. `protocol`: what came back is not HTTP/1.1.
    `too_large`: more came back than the caller would take. `reached` is False only when certainly
    no byte of the request left us. `status` is set when the status line did arrive.
    """

    def __init__(
        self, kind: FailureKind, reached: bool, detail: str, status: int | None = None
    ) -> None:
        self.kind: FailureKind = kind
        self.reached = reached
        self.detail = detail
        self.status = status
        super().__init__(f"{kind}: {detail}")


def serialise(
    method: str, request_target: str, authority: str, headers: Mapping[str, str], body: bytes
) -> bytes:
    """A whole request as bytes. Raises ValueError for a header that is malformed or ours to set."""
    if method not in METHODS:
        raise ValueError(f"{method!r} is not a method that we send")
    lines = [f"{method} {request_target} HTTP/1.1\r\nHost: {authority}\r\n"]
    for name, value in headers.items():
        if not _may_be_set(name):
            raise ValueError(f"{name!r} is not a header that a caller may set")
        if _VALUE.fullmatch(value) is None:
            raise ValueError(f"the value of {name} has characters that a header cannot carry")
        lines.append(f"{name}: {value}\r\n")
    if body or method != "GET":
        lines.append(f"Content-Length: {len(body)}\r\n")
    lines.append("Accept-Encoding: identity\r\n\r\n")
    return "".join(lines).encode("ascii") + body


@lru_cache(maxsize=256)
def _may_be_set(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and name.lower() not in _OURS


class HttpConnection(asyncio.Protocol):
    """A connection to one address. Answers that nobody asked for end it."""

    def __init__(self, address: str, on_lost: Callable[["HttpConnection"], None]) -> None:
        self.address = address
        self.idle_since = 0.0
        self.sent = False
        self.status: int | None = None
        self.reusable = False
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self._waiter: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._arrivals = select.poll()
        self._arrivals.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has arrived since, not even an end that the loop has yet to read.

        Asked before an idle connection is used again: between a close by the other side and our
        loop's noticing lies a failed call that nobody may retry.
        """
        if not self.is_open or self._transport is None:
            return False
        return not self._arrivals.poll(0)

    def abort(self) -> None:
        """End it at once, so that a late answer meets nobody."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    async def ask(self, request: bytes, max_bytes: int, ends_at: float) -> Answer:
        """Send one request and wait for its answer until `ends_at`, by the loop's clock.

        Raises OutboundFailed; sets `reusable`. The deadline is one timer of the loop, at a third
        of what a context of `asyncio.timeout` costs.
        """
        assert self._transport is not None
        assert self._waiter is None
        self._parser = httptools.HttpResponseParser(self)
        self._max_bytes = max_bytes
        self._received = 0
        self._body_bytes = 0
        self._body: list[bytes] = []
        self._headers: dict[str, str] = {}
        self._keep_alive = self._head_done = self._complete = self._surplus = False
        self._foreign = False
        self.status = None
        self.sent = True
        self.reusable = False
        self._waiter = self._loop.create_future()
        self._transport.write(request)
        deadline = self._loop.call_at(ends_at, self._expire)
        try:
            return await self._waiter
        finally:
            deadline.cancel()
            self._waiter = None

    def _expire(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._fail("timeout", "the deadline passed")

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            self.abort()
            return
        self._received += len(data)
        if self._received > self._max_bytes + HEAD_BYTES_MAX:
            self._fail("too_large", "the answer is too large")
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._complete:
                self._fail("protocol", f"the answer is not HTTP/1.1 ({type(error).__name__})")
                return
            self._surplus = True
        if self._foreign:
            self._fail("protocol", "the answer is of another version of HTTP")
        elif self._body_bytes > self._max_bytes:
            self._fail("too_large", "the answer is too large")
        elif self._complete:
            self._answer()

    def eof_received(self) -> None:
        """The other side is done; the transport closes by itself and `connection_lost` follows."""

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)
        self._on_lost(self)
        if self._waiter is None or self._waiter.done():
            return
        ends_by_closing = not ({"content-length", "transfer-encoding"} & self._headers.keys())
        if exc is None and self._head_done and ends_by_closing:
            self._answer()
        else:
            self._fail("connect", "the connection broke off before the answer was complete")

    def on_message_begin(self) -> None:
        self._surplus = self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._complete:
            return
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        if self._complete:
            return
        status = self._parser.get_status_code()
        if status >= 200:
            self.status = status
            self._head_done = True
            self._foreign = not self._parser.get_http_version().startswith("1.")
            self._keep_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        if self._complete:
            return
        self._body_bytes += len(body)
        if self._body_bytes <= self._max_bytes:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._head_done:
            self._complete = True
        else:
            # An informational answer (RFC 9110 §15.2): the real one is still to come.
            self._headers.clear()

    def _answer(self) -> None:
        assert self._waiter is not None
        assert self._transport is not None
        assert self.status is not None
        self.reusable = (
            self._complete
            and self._keep_alive
            and not self._surplus
            and not self._transport.get_write_buffer_size()
            and self.is_open
        )
        self._waiter.set_result(
            Answer(status=self.status, headers=self._headers, body=b"".join(self._body))
        )

    def _fail(self, kind: FailureKind, detail: str) -> None:
        assert self._waiter is not None
        self._waiter.set_exception(OutboundFailed(kind, self.sent, detail, self.status))
        self.abort()
