"""What a connection may send: how slowly, how much, and what is made of nonsense."""

import json
import socket
import ssl
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest

from infrastructure.edge.protocol import Limits
from tests.infrastructure.edge.serving import RunningEdge

SOON_S = 1.0
NEVER_S = 3600.0

Dial = Callable[[], ssl.SSLSocket]


@pytest.fixture
def dial(edge: RunningEdge, device_context: ssl.SSLContext) -> Generator[Dial]:
    """Connections to the device listener that have shaken hands and said nothing yet."""
    opened: list[ssl.SSLSocket] = []

    def dialling() -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", edge.device_port), timeout=30)
        opened.append(device_context.wrap_socket(plain, server_hostname="127.0.0.1"))
        return opened[-1]

    yield dialling
    for connection in opened:
        connection.close()


def everything(connection: ssl.SSLSocket) -> bytes:
    """All that still comes until the server ends the connection; TimeoutError if it does not."""
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except (ConnectionError, ssl.SSLError):
        return received
    return received


def one_answer(connection: ssl.SSLSocket) -> dict[str, object]:
    """The body of the next answer on a connection that stays open."""
    head, _, body = received_until(connection, b"", lambda got: b"\r\n\r\n" in got).partition(
        b"\r\n\r\n"
    )
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    answer: dict[str, object] = json.loads(
        received_until(connection, body, lambda got: len(got) >= length)
    )
    return answer


def received_until(
    connection: ssl.SSLSocket, received: bytes, enough: Callable[[bytes], bool]
) -> bytes:
    while not enough(received):
        chunk = connection.recv(65536)
        assert chunk, "the server ended the connection"
        received += chunk
    return received


def status_and_code(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert b"connection: close" in head
    problem = json.loads(body)
    assert problem["status"] == int(head.split()[1])
    return problem["status"], problem["code"]


class TestSlowClients:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(handshake_s=3 * SOON_S, head_s=SOON_S, body_s=SOON_S, keep_alive_s=3600)

    @pytest.mark.parametrize(
        "beginning",
        [
            b"",
            b"G",
            b"GET / HTTP/1.1\r\nHost: edge\r\nX-Slow: ",
            b"\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: edge\r\nContent-Length: 10\r\n\r\nabc",
            b"POST / HTTP/1.1\r\nHost: edge\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        ],
        ids=["nothing", "letter", "head", "line-ends", "body", "chunks"],
    )
    def test_who_does_not_finish_a_request_is_disconnected(
        self, edge: RunningEdge, dial: Dial, beginning: bytes
    ) -> None:
        connection = dial()
        connection.sendall(beginning)
        assert everything(connection) == b""
        connection.close()
        edge.wait_until(lambda: edge.device_listener.connections == 0)
        assert edge.application.finished == []

    @pytest.mark.parametrize("beginning", [b"GET / HTTP/1.1\r\nHost:", b"\r\n"])
    def test_a_later_request_has_the_same_limit(self, dial: Dial, beginning: bytes) -> None:
        connection = dial()
        connection.sendall(b"GET / HTTP/1.1\r\nHost: edge\r\n\r\n")
        one_answer(connection)
        connection.sendall(beginning)
        assert everything(connection) == b""

    def test_an_answer_under_way_is_not_cut_by_a_slow_next_request(
        self, edge: RunningEdge, dial: Dial
    ) -> None:
        connection = dial()
        connection.sendall(b"GET /hold HTTP/1.1\r\nHost: edge\r\n\r\nGET / HT")
        edge.wait_until(lambda: edge.application.begun == ["/hold"])
        with pytest.raises(TimeoutError), timing_out(connection, 3 * SOON_S):
            connection.recv(1)
        edge.call(edge.application.release.set)
        assert one_answer(connection)["path"] == "/hold"

    def test_a_handshake_that_does_not_come_is_disconnected(self, edge: RunningEdge) -> None:
        for port in (edge.device_port, edge.public_port):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as silent:
                assert silent.recv(1) == b""


@contextmanager
def timing_out(connection: ssl.SSLSocket, seconds: float) -> Generator[None]:
    before = connection.gettimeout()
    connection.settimeout(seconds)
    try:
        yield
    finally:
        connection.settimeout(before)


class TestIdleClients:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(head_s=NEVER_S, body_s=NEVER_S, keep_alive_s=0)

    def test_an_idle_connection_is_closed_after_its_time(self, dial: Dial) -> None:
        connection = dial()
        connection.sendall(b"GET / HTTP/1.1\r\nHost: edge\r\n\r\n")
        assert b"200 OK" in everything(connection)


HEAD = b"GET / HTTP/1.1\r\nHost: edge\r\n"
MUCH = Limits().head_bytes


@pytest.mark.parametrize(
    "parts",
    [
        [HEAD + b"X-Large: " + b"a" * MUCH + b"\r\n\r\n"],
        [HEAD + b"".join(b"X-%d: a\r\n" % n for n in range(MUCH // 5)) + b"\r\n"],
        [b"GET /" + b"a" * MUCH + b" HTTP/1.1\r\nHost: edge\r\n\r\n"],
        [HEAD + b"X-Endless: ", *[b"a" * 1024] * (2 * MUCH // 1024)],
        [b"\r\n" * MUCH],
    ],
    ids=["one-header", "many-headers", "url", "never-complete", "line-ends"],
)
def test_a_head_that_is_too_large_is_refused(
    edge: RunningEdge, dial: Dial, parts: list[bytes]
) -> None:
    connection = dial()
    try:
        for part in parts:
            connection.sendall(part)
    except (ConnectionError, ssl.SSLError):
        pass  # refused before all of it was sent
    answer = everything(connection)
    # A client that is still sending may be reset before it reads the answer.
    assert answer == b"" or status_and_code(answer) == (431, "headers_too_large")
    assert edge.application.begun == []


def test_a_head_of_the_allowed_size_and_a_large_body_are_read(
    edge: RunningEdge, dial: Dial
) -> None:
    connection = dial()
    body = bytes(1_000_000)
    connection.sendall(b"POST / HTTP/1.1\r\nHost: edge\r\nX-Large: " + b"a" * (MUCH - 100))
    connection.sendall(b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert one_answer(connection)["body_bytes"] == len(body)
    connection.sendall(HEAD + b"\r\n")
    assert one_answer(connection)["body_bytes"] == 0
    edge.wait_until(lambda: len(edge.application.finished) == 2)


def test_trailers_do_not_become_headers_and_are_limited(edge: RunningEdge, dial: Dial) -> None:
    chunked = b"POST / HTTP/1.1\r\nHost: edge\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
    connection = dial()
    connection.sendall(chunked + b"Client-Cert: forged\r\nX-Trailer: late\r\n\r\n")
    answer = one_answer(connection)
    assert answer["headers"] == [["host", "edge"], ["transfer-encoding", "chunked"]]

    endless = dial()
    try:
        endless.sendall(chunked + b"X-Endless: ")
        for _ in range(64):
            endless.sendall(b"a" * MUCH)
    except (ConnectionError, ssl.SSLError):
        pass  # refused before all of it was sent
    assert everything(endless) == b""
    edge.wait_until(lambda: edge.application.disconnected == ["/"])


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x00\xa5\x01\x00",
        b"GET / HTTP/1.1\r\nHost: edge\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: edge\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: edge\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: edge\r\nX : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: edge\r\nX: a\x00b\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: edge\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: edge\r\n\r\n",
        b"NOPE / HTTP/1.1\r\nHost: edge\r\n\r\n",
        b"CONNECT edge HTTP/1.1\r\nHost: edge\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused_in_the_form_of_every_refusal(
    edge: RunningEdge, dial: Dial, nonsense: bytes
) -> None:
    connection = dial()
    connection.sendall(nonsense)
    assert status_and_code(everything(connection)) == (400, "malformed_http")
    assert edge.application.begun == []


def test_nonsense_after_a_request_never_gets_into_its_answer(edge: RunningEdge, dial: Dial) -> None:
    connection = dial()
    connection.sendall(b"GET /hold HTTP/1.1\r\nHost: edge\r\n\r\n\x00\x00\x00\x00")
    assert everything(connection) == b""
    connection.close()
    edge.wait_until(lambda: edge.device_listener.connections == 0)


def test_a_wish_to_upgrade_is_answered_as_if_it_had_not_been_made(dial: Dial) -> None:
    connection = dial()
    connection.sendall(HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert one_answer(connection)["path"] == "/"


def test_pipelined_requests_are_answered_in_order(edge: RunningEdge, dial: Dial) -> None:
    connection = dial()
    one, two = (b"GET /%s HTTP/1.1\r\nHost: edge\r\n\r\n" % name for name in (b"one", b"two"))
    connection.sendall(one + two.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    answers = everything(connection)
    assert answers.index(b'"/one"') < answers.index(b'"/two"')
    edge.wait_until(lambda: edge.application.finished == ["/one", "/two"])
