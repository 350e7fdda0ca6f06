"""An answer leaves in one piece: its head waits for the first part of its body."""

import asyncio

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class AnswerTransport(asyncio.Transport):
    """What one request's cycle writes to, in front of the connection's own transport.

    uvicorn writes head and body apart: two TLS records, two system calls, two times that the
    client wakes up. ASGI wants the head held back anyway until the first part of the body comes.
    """

    def __init__(self, transport: asyncio.Transport, cycle: RequestResponseCycle) -> None:
        super().__init__()
        self._transport = transport
        self._cycle = cycle
        self._head: bytes | None = None
        self.handed_over = False
        """Whether the answer went to a connection that was still open then; not proof that
        anybody read it."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Hold the head back; pass on what comes before it (100 Continue) and after it.

        A body is written after every head, if only an empty one; the answer to HEAD is the
        exception, and no answer of this transport's.
        """
        if self._head is None and self._cycle.response_started:
            self._head = bytes(data)
        elif self._head:
            head, self._head = self._head, b""
            self.handed_over = not self._transport.is_closing()
            self._transport.write(b"".join((head, data)))
        else:
            self._transport.write(data)

    async def give(self, headers: bytes, body: bytes) -> None:
        """The whole of a plain 200 at once, for an application that spells it itself.

        `headers` are lines of the head as they go out, each with its end; date, length and what
        becomes of the connection are added. What uvicorn's `send` does for the two messages of
        an answer, without looking at every header twice. A peer that hung up is told nothing.
        """
        cycle = self._cycle
        if cycle.response_started:
            raise RuntimeError("the answer has begun already")
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            return
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        lines = [b"%b: %b\r\n" % header for header in cycle.default_headers]
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        self.handed_over = not self._transport.is_closing()
        self._transport.write(
            b"HTTP/1.1 200 OK\r\n%b%bcontent-length: %d\r\n\r\n%b"
            % (b"".join(lines), headers, len(body), body)
        )
        cycle.message_event.set()
        if not cycle.keep_alive:
            self._transport.close()
        cycle.on_response()

    def close(self) -> None:
        """Close the connection; a head that the application gave up after still goes out."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()
