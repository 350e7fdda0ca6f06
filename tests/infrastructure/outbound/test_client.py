"""The outbound client against a real server that misbehaves byte by byte."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest

from infrastructure.outbound.client import Answer, OutboundClient, OutboundFailed
from infrastructure.outbound.http_exchange import HEAD_BYTES_MAX
from tests.infrastructure.outbound.certificates import TestAuthority
from tests.infrastructure.outbound.clients import loopback_client
from tests.infrastructure.outbound.scripted_server import response, scripted
from tests.infrastructure.outbound.test_egress import ScriptedResolver


@pytest.fixture
async def client() -> AsyncGenerator[OutboundClient]:
    opened = loopback_client()
    yield opened
    await opened.close()


async def ask(
    client: OutboundClient,
    url: str,
    *,
    method: str = "POST",
    body: bytes = b"{}",
    deadline_s: float = 5.0,
    max_bytes: int = 1024,
) -> Answer:
    return await client.request(
        method,
        url,
        headers={"Content-Type": "application/json"},
        body=body,
        deadline_s=deadline_s,
        max_bytes=max_bytes,
    )


async def failure(
    client: OutboundClient, url: str, *, deadline_s: float = 5.0, max_bytes: int = 1024
) -> OutboundFailed:
    with pytest.raises(OutboundFailed) as failed:
        await ask(client, url, deadline_s=deadline_s, max_bytes=max_bytes)
    return failed.value


async def test_a_request_is_sent_as_written_and_the_answer_comes_back(
    client: OutboundClient,
) -> None:
    async with scripted(response(201, b'{"a":1}', "X-Two: 1", "X-Two: 2")) as server:
        answer = await ask(client, server.url("/v1/authorize?lane=3"), body=b'{"b":2}')
        assert (answer.status, answer.body) == (201, b'{"a":1}')
        assert answer.headers["x-two"] == "1, 2"
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        assert head.split(b"\r\n") == [
            b"POST /v1/authorize?lane=3 HTTP/1.1",
            b"Host: 127.0.0.1:%d" % server.port,
            b"Content-Type: application/json",
            b"Content-Length: 7",
            b"Accept-Encoding: identity",
        ]
        assert body == b'{"b":2}'


async def test_a_connection_is_kept_for_the_next_request(client: OutboundClient) -> None:
    async with scripted(response()) as server:
        for _ in range(5):
            await ask(client, server.url())
        assert server.connections == 1


async def test_a_connection_that_idled_too_long_is_not_reused() -> None:
    client = loopback_client(idle_s=-1.0)
    async with scripted(response()) as server:
        await ask(client, server.url())
        await ask(client, server.url())
        assert server.connections == 2
    await client.close()


async def test_a_connection_that_the_server_closed_is_not_reused(client: OutboundClient) -> None:
    async def answer_and_close(writer: asyncio.StreamWriter) -> None:
        writer.write(response())
        await writer.drain()
        writer.close()

    async with scripted(answer_and_close, response()) as server:
        await ask(client, server.url())
        await server.until(lambda: server.open_connections == 0)
        assert (await ask(client, server.url())).status == 200
        assert server.connections == 2


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        response() + response(403),
        response() + b"garbage",
    ],
    ids=["connection close", "http 1.0", "a second answer", "garbage behind the answer"],
)
async def test_a_connection_that_is_not_clean_is_not_reused(
    client: OutboundClient, reply: bytes
) -> None:
    async with scripted(reply, response(204, b"")) as server:
        assert (await ask(client, server.url())).body == b"{}"
        assert (await ask(client, server.url())).status == 204
        assert server.connections == 2


async def test_an_answer_that_nobody_asked_for_ends_an_idle_connection(
    client: OutboundClient,
) -> None:
    send_more = asyncio.Event()

    async def answer_twice(writer: asyncio.StreamWriter) -> None:
        writer.write(response())
        await send_more.wait()
        writer.write(response(200, b'{"decision":"allow"}'))

    async with scripted(answer_twice, response(200, b'{"decision":"deny"}')) as server:
        await ask(client, server.url())
        send_more.set()
        await server.until(lambda: server.open_connections == 0)
        assert (await ask(client, server.url())).body == b'{"decision":"deny"}'


async def test_the_answer_of_a_timed_out_request_never_meets_the_next_one(
    client: OutboundClient,
) -> None:
    """With `abort` left out of `OutboundClient._put_back` the second body is the late one."""
    late = asyncio.Event()

    async def answer_late(writer: asyncio.StreamWriter) -> None:
        await late.wait()
        writer.write(response(200, b"late"))

    async with scripted(answer_late, response(200, b"prompt")) as server:
        failed = await failure(client, server.url(), deadline_s=0.5)
        assert (failed.kind, failed.reached, failed.status) == ("timeout", True, None)
        asking = [asyncio.create_task(ask(client, server.url())) for _ in range(8)]
        # After the first step of each, in which it takes a connection and sends.
        asyncio.get_running_loop().call_soon(late.set)
        answers = await asyncio.gather(*asking)
        assert {answer.body for answer in answers} == {b"prompt"}


async def test_a_cancelled_request_aborts_its_connection(client: OutboundClient) -> None:
    async with scripted(None) as server:
        task = asyncio.create_task(ask(client, server.url()))
        await server.until(lambda: len(server.requests) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.until(lambda: server.open_connections == 0)


@pytest.mark.parametrize("part", ["head", "body"])
async def test_a_dribbling_answer_is_cut_at_the_total_deadline(
    client: OutboundClient, part: str
) -> None:
    """A per-read time-out would never fire here: each byte comes well within any of them."""
    told: list[int] = []

    async def dribble(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        if part == "body":
            writer.write(b"Content-Length: 1000\r\n\r\n")
        while True:
            writer.write(b"x" if part == "body" else b"X-More: 1\r\n")
            told.append(1)
            await writer.drain()
            await asyncio.sleep(0.01)

    async with scripted(dribble) as server:
        loop = asyncio.get_running_loop()
        began = loop.time()
        failed = await failure(client, server.url(), deadline_s=0.5)
        took = loop.time() - began
    assert (failed.kind, failed.reached) == ("timeout", True)
    assert failed.status == (200 if part == "body" else None)
    assert 0.49 < took < 10
    assert len(told) > 2


@pytest.mark.parametrize(
    "reply",
    [
        response(200, b"x" * 1025),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"200\r\n" + b"x" * 512 + b"\r\n"
        b"201\r\n" + b"x" * 513 + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1025,
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * (HEAD_BYTES_MAX + 1024) + b"\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2000 + response(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1;x=y\r\nx\r\n" * 5000,
    ],
    ids=["length", "chunked", "until closed", "headers", "early hints", "chunk extensions"],
)
async def test_an_answer_that_is_too_large_is_cut_off(client: OutboundClient, reply: bytes) -> None:
    async with scripted(reply) as server:
        failed = await failure(client, server.url(), max_bytes=1024)
        assert (failed.kind, failed.reached) == ("too_large", True)
        await server.until(lambda: server.open_connections == 0)


async def test_an_endless_answer_takes_no_memory(client: OutboundClient) -> None:
    written = 0

    async def never_end(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            written += 65536
            await writer.drain()

    async with scripted(never_end) as server:
        failed = await failure(client, server.url(), max_bytes=1024)
        assert failed.kind == "too_large"
        await server.until(lambda: server.open_connections == 0)
    assert written < 32 * 1024 * 1024


async def test_an_answer_of_exactly_the_permitted_size_is_taken(client: OutboundClient) -> None:
    async with scripted(response(200, b"x" * 1024)) as server:
        assert len((await ask(client, server.url(), max_bytes=1024)).body) == 1024


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nBad Header: 1\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello",
    ],
)
async def test_what_is_not_http_is_a_protocol_failure(client: OutboundClient, reply: bytes) -> None:
    async with scripted(reply) as server:
        failed = await failure(client, server.url())
        assert (failed.kind, failed.reached) == ("protocol", True)


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (b"", None),
        (b"HTTP/1.1 200 OK\r\nContent-Le", None),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"decision":', 200),
        (b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", 403),
    ],
)
async def test_an_answer_that_breaks_off_is_a_failed_connection(
    client: OutboundClient, reply: bytes, status: int | None
) -> None:
    async def break_off(writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        await writer.drain()
        writer.close()

    async with scripted(break_off) as server:
        failed = await failure(client, server.url())
        assert (failed.kind, failed.reached, failed.status) == ("connect", True, status)


async def test_an_answer_may_end_by_closing_the_connection(client: OutboundClient) -> None:
    async def close_after(writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\n\r\n{"whole":true}')
        await writer.drain()
        writer.close()

    async with scripted(close_after) as server:
        assert (await ask(client, server.url())).body == b'{"whole":true}'


async def test_an_informational_answer_is_passed_over(client: OutboundClient) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    async with scripted(early + response(200, b"real")) as server:
        answer = await ask(client, server.url())
        assert (answer.status, answer.body) == (200, b"real")
        assert "link" not in answer.headers


async def test_a_redirect_is_an_answer_like_any_other(client: OutboundClient) -> None:
    async with scripted(response(307, b"", "Location: http://127.0.0.1:1/")) as server:
        assert (await ask(client, server.url())).status == 307
        assert len(server.requests) == 1


async def test_a_compressed_body_is_not_unpacked(client: OutboundClient) -> None:
    bomb = gzip.compress(b"\0" * 1_000_000)
    async with scripted(response(200, bomb, "Content-Encoding: gzip")) as server:
        assert (await ask(client, server.url(), max_bytes=16_384)).body == bomb


async def test_a_cookie_is_not_sent_back(client: OutboundClient) -> None:
    async with scripted(response(200, b"{}", "Set-Cookie: a=b")) as server:
        await ask(client, server.url())
        await ask(client, server.url())
        assert b"ookie" not in server.requests[1]


async def test_proxy_variables_are_not_read(
    client: OutboundClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with scripted(response()) as server:
        assert (await ask(client, server.url())).status == 200


async def test_a_refused_connection_has_reached_nobody(client: OutboundClient) -> None:
    async with scripted(response()) as server:
        url = server.url()
    failed = await failure(client, url)
    assert (failed.kind, failed.reached) == ("connect", False)


async def test_a_forbidden_url_is_blocked_before_anything_happens(client: OutboundClient) -> None:
    for url in ("http://10.0.0.1/", "https://169.254.169.254/", "file:///etc/passwd"):
        failed = await failure(client, url)
        assert (failed.kind, failed.reached) == ("blocked", False)


async def test_a_name_that_does_not_resolve_is_a_failed_connection() -> None:
    client = loopback_client(ScriptedResolver(gone_example=[]))
    failed = await failure(client, "https://gone.example/")
    assert (failed.kind, failed.reached) == ("connect", False)
    await client.close()


async def test_a_resolver_that_hangs_is_cut_at_the_deadline() -> None:
    asked: list[tuple[str, int]] = []

    class Hanging:
        async def resolve(self, host: str, port: int) -> Sequence[str]:
            asked.append((host, port))
            never: asyncio.Future[Sequence[str]] = asyncio.get_running_loop().create_future()
            return await never

    client = loopback_client(Hanging())
    failed = await failure(client, "https://slow.example/", deadline_s=0.05)
    assert (failed.kind, failed.reached) == ("timeout", False)
    assert asked == [("slow.example", 443)]
    await client.close()


async def test_only_the_checked_address_is_connected_to_when_a_name_changes_its_mind() -> None:
    """DNS rebinding: the second answer would lead to the server, the first one leads nowhere.

    With `pinned.host` in place of the address in `OutboundClient._connect_to`, or a look-up of
    its own before connecting, the server is reached.
    """
    async with scripted(response()) as server:
        resolver = ScriptedResolver(rebind_example=[["::1"], ["127.0.0.1"]])
        client = loopback_client(resolver)
        failed = await failure(client, server.url(host="rebind.example"))
        assert (failed.kind, failed.reached) == ("connect", False)
        assert server.connections == 0
        assert len(resolver.asked) == 1
        await client.close()


async def test_a_pin_serves_many_requests_and_is_renewed_after_its_time() -> None:
    async with scripted(response()) as server:
        resolver = ScriptedResolver(shop_example=[["127.0.0.1"]])
        client = loopback_client(resolver)
        await asyncio.gather(*(ask(client, server.url(host="shop.example")) for _ in range(20)))
        assert len(resolver.asked) == 1
        forgetful = loopback_client(resolver, pin_s=0.0)
        await ask(forgetful, server.url(host="shop.example"))
        await ask(forgetful, server.url(host="shop.example"))
        assert len(resolver.asked) == 3
        await client.close()
        await forgetful.close()


async def test_a_kept_connection_to_an_address_that_is_no_longer_the_name_s_is_ended() -> None:
    async with scripted(response()) as server:
        resolver = ScriptedResolver(shop_example=[["127.0.0.1"], ["::1"]])
        client = loopback_client(resolver, pin_s=0.0)
        await ask(client, server.url(host="shop.example"))
        failed = await failure(client, server.url(host="shop.example"))
        assert failed.kind == "connect"
        await server.until(lambda: server.open_connections == 0)
        await client.close()


async def test_the_next_checked_address_is_tried_when_the_first_refuses() -> None:
    async with scripted(response()) as server:
        resolver = ScriptedResolver(shop_example=[["::1", "127.0.0.1"]])
        client = loopback_client(resolver)
        assert (await ask(client, server.url(host="shop.example"))).status == 200
        await client.close()


async def test_connections_are_bounded_and_waiting_counts_against_the_deadline() -> None:
    client = loopback_client(connections_max=2)
    async with scripted(None) as server:
        waiting = [asyncio.create_task(ask(client, server.url())) for _ in range(2)]
        await server.until(lambda: len(server.requests) == 2)
        failed = await failure(client, server.url(), deadline_s=0.05)
        assert (failed.kind, failed.reached) == ("timeout", False)
        assert server.connections == 2
        await client.close()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(outcome, OutboundFailed) for outcome in outcomes)


async def test_idle_connections_make_room_for_another_origin() -> None:
    client = loopback_client(connections_max=2)
    async with scripted(response()) as one, scripted(response()) as two:
        await asyncio.gather(ask(client, one.url()), ask(client, one.url()))
        await asyncio.gather(ask(client, two.url()), ask(client, two.url()))
        await one.until(lambda: one.open_connections == 0)
        assert two.open_connections == 2
    await client.close()


async def test_four_hundred_requests_at_once_are_all_answered(client: OutboundClient) -> None:
    async with scripted(response(200, b"ok")) as server:
        answers = await asyncio.gather(*(ask(client, server.url()) for _ in range(400)))
        assert [answer.body for answer in answers] == [b"ok"] * 400


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Evil", "a\r\nHost: b"),
        ("X-Evil", "a\nb"),
        ("X-Evil", "a\x00b"),
        ("X-Evil", "\u20ac"),
        ("X Evil", "a"),
        ("X-Evil:", "a"),
        ("", "a"),
        ("Host", "other"),
        ("Content-Length", "0"),
        ("Transfer-Encoding", "chunked"),
    ],
)
async def test_a_header_that_would_break_the_framing_is_a_mistake_of_ours(
    client: OutboundClient, name: str, value: str
) -> None:
    with pytest.raises(ValueError, match=r"header|value"):
        await client.request(
            "POST",
            "http://127.0.0.1:1/",
            headers={name: value},
            body=b"",
            deadline_s=1,
            max_bytes=1,
        )


async def test_tls_is_spoken_to_the_pinned_address_in_the_name_of_the_host(tmp_path: Path) -> None:
    authority = TestAuthority(tmp_path)
    names: list[str | None] = []
    tls = authority.server_context("shop.example")
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    async with scripted(response(200, b"secure"), tls=tls) as server:
        resolver = ScriptedResolver(shop_example=[["127.0.0.1"]])
        client = loopback_client(resolver, tls=authority.client_context())
        url = server.url(scheme="https", host="shop.example")
        assert (await ask(client, url)).body == b"secure"
        assert names == ["shop.example"]
        assert f"Host: shop.example:{server.port}\r\n".encode() in server.requests[0]
        await client.close()


@pytest.mark.parametrize("fault", ["other name", "expired", "unknown authority"])
async def test_a_certificate_that_does_not_hold_is_a_failed_connection(
    tmp_path: Path, fault: str
) -> None:
    authority = TestAuthority(tmp_path)
    name = "other.example" if fault == "other name" else "shop.example"
    tls = authority.server_context(name, days=-1 if fault == "expired" else 1)
    trust = ssl.create_default_context()
    if fault != "unknown authority":
        trust = authority.client_context()
    async with scripted(response(), tls=tls) as server:
        client = loopback_client(ScriptedResolver(shop_example=[["127.0.0.1"]]), tls=trust)
        failed = await failure(client, server.url(scheme="https", host="shop.example"))
        assert (failed.kind, failed.reached) == ("connect", False)
        assert server.requests == []
        await client.close()


async def test_a_tls_handshake_that_hangs_is_cut_at_the_deadline() -> None:
    client = loopback_client()
    async with scripted(response()) as server:
        # Plain text waits for the end of a request head that a TLS greeting never has.
        failed = await failure(client, server.url(scheme="https"), deadline_s=0.5)
        assert (failed.kind, failed.reached) == ("timeout", False)
        # On a busy machine the server may take the connection after the client has cut it.
        await server.until(lambda: server.connections == 1 and server.open_connections == 0)
    await client.close()
