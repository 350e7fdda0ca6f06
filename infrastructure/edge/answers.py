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

    def close(self) -> None:
        """Close the connection; a head that the application gave up after still goes out."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()
