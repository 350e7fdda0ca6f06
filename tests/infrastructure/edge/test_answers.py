"""How an answer leaves: in one piece when it is short, and completely whatever the method."""

import asyncio
import socket
import ssl
from collections.abc import Generator

import pytest

from infrastructure.edge.listeners import serve
from infrastructure.edge.protocol import Message, Receive, Scope, Send
from tests.infrastructure.edge.serving import RunningEdge

LENGTH = [(b"content-length", b"5")]
CLOSE = b"Connection: close\r\n\r\n"


@pytest.fixture
def connection(edge: RunningEdge, device_context: ssl.SSLContext) -> Generator[ssl.SSLSocket]:
    with (
        socket.create_connection(("127.0.0.1", edge.device_port), timeout=30) as plain,
        device_context.wrap_socket(plain, server_hostname="127.0.0.1") as dialled,
    ):
        yield dialled


def test_head_and_body_of_an_answer_are_one_tls_record(connection: ssl.SSLSocket) -> None:
    """`recv` never returns more than one record. Without AnswerTransport it returns the head."""
    for path in (b"/first", b"/second"):
        connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert path in body
        assert body.endswith(b"}")


def test_who_asks_first_whether_to_go_on_is_told_before_the_answer(
    connection: ssl.SSLSocket,
) -> None:
    connection.sendall(
        b"POST /asked HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    )
    assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(b"{}")
    assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")


async def odd(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answers as few applications do: in parts, or without a body, or not to the end."""
    start: Message = {"type": "http.response.start", "status": 200, "headers": LENGTH}
    if scope["path"] == "/nothing":
        await send({**start, "status": 204, "headers": []})
        await send({"type": "http.response.body"})
        return
    await send(start)
    if scope["path"] == "/gives-up":
        return
    for part in (b"he", b"ll"):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b"o"})


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        ("GET /parts", b"200", b"hello"),
        ("HEAD /parts", b"200", b""),
        ("GET /nothing", b"204", b""),
        ("GET /gives-up", b"200", b""),
    ],
)
async def test_every_kind_of_answer_is_complete(
    request_line: str, status: bytes, body: bytes
) -> None:
    listener = await serve(odd, host="127.0.0.1", port=0, ssl_context=None)
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    head = f"{request_line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    writer.write(head.encode())
    answered = await reader.read()
    writer.close()
    await writer.wait_closed()
    await listener.stop()
    found, _, rest = answered.partition(b"\r\n\r\n")
    assert found.split()[1] == status
    assert rest == body


async def whole(scope: Scope, _receive: Receive, _send: Send) -> None:
    """Spells its answer itself."""
    answer = scope["extensions"]["answer"]
    await answer.give(b"content-type: text/plain\r\n", scope["path"].encode())
    with pytest.raises(RuntimeError):
        await answer.give(b"", b"once more")


async def test_a_whole_answer_keeps_the_connection_for_the_next_and_is_given_once() -> None:
    """Two requests that arrive together, so that the second waits for the first to be over.

    Planted: without `on_response` the second is never answered; without a look at `keep_alive` the
    connection stays after it.
    """
    listener = await serve(whole, host="127.0.0.1", port=0, ssl_context=None)
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    first = b"POST /one HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    writer.write(first + first.replace(b"/one", b"/two").replace(b"0\r\n\r\n", b"0\r\n") + CLOSE)
    async with asyncio.timeout(30):
        answered = await reader.read()
    writer.close()
    await writer.wait_closed()
    await listener.stop()
    one, two = answered.split(b"HTTP/1.1 200 OK\r\n")[1:]
    for found, path in ((one, b"/one"), (two, b"/two")):
        head, _, body = found.partition(b"\r\n\r\n")
        assert body == path
        assert {b"content-type: text/plain", b"content-length: 4"} < set(head.split(b"\r\n"))
        assert head.count(b"date: ") == 1
        assert (b"connection: close" in head) == (path == b"/two")
