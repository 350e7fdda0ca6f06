"""A code goes out through a gateway, or the caller is told that it did not."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import parse_qs

import pytest

from infrastructure.messages import wording
from infrastructure.messages.sms_gateway import (
    SmsGateway,
    SmsGatewayMisconfigured,
    SmsGatewaySender,
)
from infrastructure.outbound.client import OutboundClient
from infrastructure.outbound.egress import EgressGuard
from tests.infrastructure.messages.unsent import (
    CODE,
    MOBILE,
    free_port,
    hanging_server,
    refused,
)


class Gateway:
    """A small HTTP server: keeps each request's head and body, answers with one status."""

    def __init__(self) -> None:
        self.serving: list[asyncio.Task[None]] = []
        self.requests: list[tuple[str, bytes]] = []
        self.status = "202 Accepted"
        self.body = b"{}"

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1]) for line in head.splitlines() if line.startswith("Content-Len")
        )
        self.requests.append((head, await reader.readexactly(length)))
        writer.write(
            f"HTTP/1.1 {self.status}\r\nConnection: close\r\n"
            f"Content-Length: {len(self.body)}\r\n\r\n".encode()
            + self.body
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def gateway() -> AsyncIterator[tuple[Gateway, str]]:
    served = Gateway()
    listener = await asyncio.start_server(served.accept, "127.0.0.1", 0)
    async with listener:
        yield served, f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/send"
        await asyncio.gather(*served.serving)


class NoNames:
    """A resolver that is never needed: these tests call addresses."""

    async def resolve(self, host: str, port: int) -> list[str]:
        raise AssertionError(f"{host}:{port} was looked up")


@pytest.fixture
async def http() -> AsyncIterator[OutboundClient]:
    client = OutboundClient(EgressGuard([], development=True, resolver=NoNames()))
    yield client
    await client.close()


JSON_BODY = '{"recipients": ["{to}"], "message": {"body": "{text}"}, "sender": "Link"}'


async def test_a_gateway_gets_json_with_the_number_and_the_text(
    gateway: tuple[Gateway, str], http: OutboundClient
) -> None:
    served, url = gateway
    headers = {"authorization": "Bearer key"}
    sender = SmsGatewaySender(SmsGateway(url=url, body=JSON_BODY, headers=headers), http)
    await sender.send(MOBILE, CODE, "ar")
    ((head, body),) = served.requests
    assert head.startswith("POST /send HTTP/1.1\r\n")
    assert "authorization: Bearer key\r\n" in head
    assert "content-type: application/json\r\n" in head
    assert json.loads(body) == {
        "recipients": [MOBILE],
        "message": {"body": wording.text(CODE, "ar")},
        "sender": "Link",
    }


async def test_a_gateway_gets_a_form_when_it_wants_one(
    gateway: tuple[Gateway, str], http: OutboundClient
) -> None:
    served, url = gateway
    form = SmsGateway(
        url=url,
        body="To={to}&Body={text}&From=Link",
        content_type="application/x-www-form-urlencoded",
    )
    await SmsGatewaySender(form, http).send(MOBILE, CODE, "en")
    assert parse_qs(served.requests[0][1].decode()) == {
        "To": [MOBILE],
        "Body": [wording.text(CODE, "en")],
        "From": ["Link"],
    }


@pytest.mark.parametrize("destination", ['"}, "x": "', "{text}", "\\", "a\nb&To=c"])
async def test_a_destination_stays_inside_its_place(
    gateway: tuple[Gateway, str], http: OutboundClient, destination: str
) -> None:
    served, url = gateway
    await SmsGatewaySender(SmsGateway(url=url, body=JSON_BODY), http).send(destination, CODE, "en")
    assert json.loads(served.requests[0][1])["recipients"] == [destination]
    form = SmsGateway(
        url=url, body="To={to}&Body={text}", content_type="application/x-www-form-urlencoded"
    )
    await SmsGatewaySender(form, http).send(destination, CODE, "en")
    assert parse_qs(served.requests[1][1].decode())["To"] == [destination]


@pytest.mark.parametrize("status", ["400 Bad Request", "302 Found", "500 Oops", "429 Later"])
async def test_any_answer_but_success_means_not_sent(
    gateway: tuple[Gateway, str], http: OutboundClient, status: str
) -> None:
    served, url = gateway
    served.status, served.body = status, f"no SMS to {MOBILE}".encode()
    sender = SmsGatewaySender(SmsGateway(url=url, body=JSON_BODY), http)
    assert await refused(sender) == [f"status {status[:3]}"]
    assert len(served.requests) == 1


async def test_a_success_with_a_long_answer_is_a_success(
    gateway: tuple[Gateway, str], http: OutboundClient
) -> None:
    served, url = gateway
    served.body = b" " * 20_000
    await SmsGatewaySender(SmsGateway(url=url, body=JSON_BODY), http).send(MOBILE, CODE, "en")
    assert len(served.requests) == 1


async def test_a_gateway_that_is_not_there_or_not_allowed_means_not_sent(
    http: OutboundClient,
) -> None:
    away = SmsGateway(url=f"http://127.0.0.1:{await free_port()}/", body=JSON_BODY)
    assert await refused(SmsGatewaySender(away, http)) == ["connect"]
    inside = SmsGateway(url="https://10.0.0.1/", body=JSON_BODY)
    assert await refused(SmsGatewaySender(inside, http)) == ["blocked"]


async def test_a_gateway_that_hangs_is_given_up_at_the_deadline(http: OutboundClient) -> None:
    async with hanging_server() as port:
        slow = SmsGateway(url=f"http://127.0.0.1:{port}/", body=JSON_BODY, deadline_s=0.2)
        assert await refused(SmsGatewaySender(slow, http)) == ["timeout"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"body": '{"to": "{to}"}'},
        {"body": '{"to": "{to}", "text": "{text}"'},
        {"body": '{"to": {to}, "text": "{text}"}'},
        {"url": "https://sms.example.com/{to}"},
        {"headers": {"x-key": "two\r\nlines"}},
    ],
)
def test_a_gateway_that_could_never_send_is_refused_at_the_start(
    http: OutboundClient, wrong: Mapping[str, Any]
) -> None:
    settings: dict[str, Any] = {"url": "https://sms.example.com/", "body": JSON_BODY, **wrong}
    with pytest.raises(SmsGatewayMisconfigured):
        SmsGatewaySender(SmsGateway(**settings), http)


async def test_no_library_logs_a_code_or_a_destination(
    gateway: tuple[Gateway, str], http: OutboundClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await SmsGatewaySender(SmsGateway(url=gateway[1], body=JSON_BODY), http).send(
        MOBILE, CODE, "en"
    )
    assert CODE not in caplog.text
    assert MOBILE not in caplog.text
