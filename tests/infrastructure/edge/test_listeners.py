"""Listening and stopping: what is running finishes, what is idle goes, nothing new comes in."""

import asyncio
import logging
import signal
import socket
import ssl
from concurrent.futures import Future
from http.client import HTTPSConnection, RemoteDisconnected

import httpx
import pytest
import uvloop

from infrastructure.edge.listeners import Listener, ListenerFailed, new_event_loop, serve
from infrastructure.edge.protocol import Limits, Message, Receive, Scope, Send
from tests.infrastructure.edge.serving import Application, RunningEdge


def stopping(edge: RunningEdge, *, drain_s: float = 5.0) -> "Future[None]":
    """The device listener, told to stop; the future is done when it has."""
    return asyncio.run_coroutine_threadsafe(edge.device_listener.stop(drain_s=drain_s), edge.loop)


def dialled(edge: RunningEdge, context: ssl.SSLContext) -> HTTPSConnection:
    return HTTPSConnection("127.0.0.1", edge.device_port, context=context, timeout=30)


def test_a_running_request_gets_its_answer_and_the_connection_then_ends(
    edge: RunningEdge, device_context: ssl.SSLContext
) -> None:
    running = dialled(edge, device_context)
    running.request("GET", "/hold")
    edge.wait_until(lambda: edge.application.begun == ["/hold"])
    stopped = stopping(edge)
    edge.wait_until(lambda: not edge.device_listener.accepting)
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", edge.device_port), timeout=30).close()
    assert not stopped.done()

    edge.call(edge.application.release.set)
    answer = running.getresponse()
    assert answer.status == 200
    assert answer.getheader("connection") == "close"
    answer.read()
    running.close()
    stopped.result(5)
    assert edge.application.finished == ["/hold"]


def test_an_idle_connection_is_ended_at_once(
    edge: RunningEdge, device_context: ssl.SSLContext
) -> None:
    idle = dialled(edge, device_context)
    idle.request("GET", "/")
    idle.getresponse().read()
    stopped = stopping(edge)
    assert idle.sock.recv(1) == b""
    idle.close()
    stopped.result(5)


def test_a_handshake_that_completes_while_stopping_is_not_served(
    edge: RunningEdge, device_context: ssl.SSLContext
) -> None:
    running = dialled(edge, device_context)
    running.request("GET", "/hold")
    edge.wait_until(lambda: edge.application.begun == ["/hold"])
    with socket.create_connection(("127.0.0.1", edge.device_port), timeout=30) as plain:
        edge.wait_until(lambda: edge.device_listener.accepted == 2)
        stopped = stopping(edge)
        edge.wait_until(lambda: not edge.device_listener.accepting)
        with device_context.wrap_socket(plain, server_hostname="127.0.0.1") as late:
            try:
                late.sendall(b"GET /late HTTP/1.1\r\nHost: edge\r\n\r\n")
                assert late.recv(1) == b""
            except (ConnectionError, ssl.SSLError):
                pass  # a reset says the same
    edge.call(edge.application.release.set)
    running.getresponse().read()
    running.close()
    stopped.result(5)
    assert edge.application.begun == ["/hold"]


def test_what_outlives_the_drain_is_cut(edge: RunningEdge, device_context: ssl.SSLContext) -> None:
    running = dialled(edge, device_context)
    running.request("GET", "/hold")
    edge.wait_until(lambda: edge.application.begun == ["/hold"])
    stopping(edge, drain_s=0.05).result(5)
    with pytest.raises((RemoteDisconnected, ConnectionError, ssl.SSLError)):
        running.getresponse()
    running.close()
    assert edge.application.finished == []


async def plain_listener(application: Application, port: int = 0) -> Listener:
    return await serve(application, host="127.0.0.1", port=port, ssl_context=None)


async def test_a_port_that_is_taken_is_an_error_and_not_the_end_of_the_process() -> None:
    first = await plain_listener(Application())
    with pytest.raises(ListenerFailed, match=str(first.port)):
        await plain_listener(Application(), first.port)
    await first.stop()


async def test_a_port_is_known_only_while_listening() -> None:
    listener = await plain_listener(Application())
    assert listener.port > 0
    await listener.stop()
    with pytest.raises(ListenerFailed, match="not listening"):
        _ = listener.port


async def test_connections_beyond_the_limit_are_told_to_come_again() -> None:
    """Without the limit whoever opens enough of them leaves none for anybody else."""
    listener = await serve(
        Application(),
        host="127.0.0.1",
        port=0,
        ssl_context=None,
        limits=Limits(connections_max=1),
    )
    url = f"http://127.0.0.1:{listener.port}/"
    async with httpx.AsyncClient() as first, httpx.AsyncClient() as second:
        assert (await first.get(url)).status_code == 200
        answer = await second.get(url)
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
        assert answer.headers["retry-after"] == "1"
        assert (await first.get(url)).status_code == 200
        await first.aclose()
        for _ in range(100):
            if (await second.get(url)).status_code == 200:
                break
        else:
            pytest.fail("the place of a connection that ended is not given to the next")
    await listener.stop()


async def test_signals_stay_with_the_caller() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    listener = await plain_listener(Application())
    assert {number: signal.getsignal(number) for number in before} == before
    await listener.stop()


async def test_no_request_is_written_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    listener = await plain_listener(Application())
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{listener.port}/secret-path")
    await listener.stop()
    assert answer.status_code == 200
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


async def test_an_application_with_a_lifespan_is_started_and_stopped() -> None:
    seen: list[str] = []
    listener = await serve(
        lifespan_application(seen), host="127.0.0.1", port=0, ssl_context=None, lifespan="on"
    )
    assert seen == ["lifespan.startup"]
    await listener.stop()
    assert seen == ["lifespan.startup", "lifespan.shutdown"]


async def test_an_application_that_does_not_start_is_not_listened_for() -> None:
    with pytest.raises(ListenerFailed, match="did not start"):
        await serve(
            lifespan_application([], fails=True),
            host="127.0.0.1",
            port=0,
            ssl_context=None,
            lifespan="on",
        )


class LifespanApplication:
    def __init__(self, seen: list[str], *, fails: bool) -> None:
        self.seen = seen
        self.fails = fails

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        while True:
            message: Message = await receive()
            self.seen.append(message["type"])
            await send({"type": f"{message['type']}.{'failed' if self.fails else 'complete'}"})
            if self.fails or message["type"] == "lifespan.shutdown":
                return


def lifespan_application(seen: list[str], *, fails: bool = False) -> LifespanApplication:
    return LifespanApplication(seen, fails=fails)


def test_the_event_loop_is_uvloop_where_there_is_one() -> None:
    loop = new_event_loop()
    try:
        assert isinstance(loop, uvloop.Loop)
    finally:
        loop.close()
