"""The gateway against a real server: each row of reference broker.md §3.7, and its dark corners."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncGenerator
from uuid import UUID

import msgspec
import pytest

from application.ports import AuthorizeCall, Authorized, AuthorizeFailed
from application.ports.circuits import CircuitChange
from domain.ids import DeviceId, TenantId
from domain.linked_service import BreakerSettings
from infrastructure.circuits import breakers as breakers_module
from infrastructure.circuits.breakers import Breakers
from infrastructure.clock import SystemClock
from infrastructure.outbound.client import Answer, OutboundFailed
from infrastructure.products.linked_service_gateway import (
    ANSWER_BYTES_MAX,
    HttpLinkedServiceGateway,
)
from tests.infrastructure.outbound.clients import loopback_client
from tests.infrastructure.outbound.scripted_server import Reply, response, scripted

SERVICE = UUID(int=7)
ALLOW = b'{"decision":"allow"}'
COUNTS = BreakerSettings(consecutive_failures=1)


class Gateway:
    """A gateway over a real client, and what its breakers have said."""

    def __init__(self) -> None:
        self.changes: list[CircuitChange] = []
        self.client = loopback_client()
        self.use(SystemClock())

    def use(self, clock: SystemClock) -> None:
        self.breakers = Breakers(clock, tell=self.changes.append)
        self.gateway = HttpLinkedServiceGateway(self.client, clock, self.breakers)

    async def authorize(
        self,
        url: str,
        *,
        deadline_s: float = 5.0,
        device: int = 1,
        breaker: BreakerSettings = COUNTS,
    ) -> Authorized:
        return await self.gateway.authorize(
            AuthorizeCall(
                tenant_id=TenantId(UUID(int=1)),
                service_id=SERVICE,
                device_id=DeviceId(UUID(int=device)),
                url=url,
                bearer="header.payload.signature",
                body=b'{"action":"pay"}',
                idempotency_key="01JB4Z6R3M8Q5T7V9X0C2D4E6F",
                deadline_s=deadline_s,
                breaker=breaker,
            )
        )

    async def failure(self, url: str, *, deadline_s: float = 5.0) -> AuthorizeFailed:
        with pytest.raises(AuthorizeFailed) as failed:
            await self.authorize(url, deadline_s=deadline_s)
        return failed.value

    @property
    def tripped(self) -> bool:
        states = self.breakers.states()
        return states["open"] + states["half_open"] > 0


@pytest.fixture
async def gateway() -> AsyncGenerator[Gateway]:
    opened = Gateway()
    yield opened
    await opened.client.close()


async def test_the_product_gets_the_agreed_headers_and_the_exact_body(gateway: Gateway) -> None:
    async with scripted(response(200, ALLOW)) as server:
        await gateway.authorize(server.url("/v1/authorize"), deadline_s=0.742)
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        assert head.decode().split("\r\n")[0] == "POST /v1/authorize HTTP/1.1"
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        assert headers["Authorization"] == "Bearer header.payload.signature"
        assert headers["Content-Type"] == "application/json"
        assert headers["Content-Digest"] == f"sha-256=:{digest}:"
        assert headers["Idempotency-Key"] == "01JB4Z6R3M8Q5T7V9X0C2D4E6F"
        assert headers["X-Deadline-Ms"] == "742"
        assert body == b'{"action":"pay"}'


async def test_a_full_answer_is_relayed(gateway: Gateway) -> None:
    body = (
        b'{"decision":"deny","display_message":"Approved \xc2\xb7 SAR 50.00","ttl_seconds":30,'
        b'"reference_id":"wal_txn_889","reason_code":"insufficient_balance","more":{"x":1}}'
    )
    async with scripted(response(200, body, "Idempotent-Replayed: true")) as server:
        assert await gateway.authorize(server.url()) == Authorized(
            decision="deny",
            display_message="Approved \u00b7 SAR 50.00",
            reference_id="wal_txn_889",
            ttl_seconds=30,
            reason_code="insufficient_balance",
        )
    assert not gateway.tripped


async def test_members_may_be_absent_or_null(gateway: Gateway) -> None:
    nulls = b'{"decision":"allow","display_message":null,"reference_id":null,"ttl_seconds":null}'
    async with scripted(response(200, ALLOW), response(200, nulls)) as server:
        assert await gateway.authorize(server.url()) == Authorized(decision="allow")
        assert await gateway.authorize(server.url()) == Authorized(decision="allow")


@pytest.mark.parametrize(
    ("status", "failure", "counts"),
    [
        (500, "product_5xx", True),
        (502, "product_5xx", True),
        (599, "product_5xx", True),
        (429, "product_5xx", True),
        (401, "assertion_rejected", False),
        (403, "assertion_rejected", False),
        (400, "product_refused", False),
        (404, "product_refused", False),
        (409, "product_refused", False),
        (422, "product_refused", False),
        (301, "product_malformed", True),
        (302, "product_malformed", True),
        (307, "product_malformed", True),
        (201, "product_malformed", True),
        (204, "product_malformed", True),
        (600, "product_malformed", True),
    ],
)
async def test_a_status_other_than_200_is_no_decision(
    gateway: Gateway, status: int, failure: str, counts: bool
) -> None:
    body = b"" if status == 204 else ALLOW
    async with scripted(response(status, body, "Location: http://127.0.0.1:1/")) as server:
        failed = await gateway.failure(server.url())
    assert (failed.failure, failed.reached) == (failure, True)
    assert gateway.tripped is counts


MALFORMED: list[bytes] = [
    b"",
    b"null",
    b"[]",
    b'"allow"',
    b"allow",
    b"{}",
    b'{"decision":"ALLOW"}',
    b'{"decision":"approve"}',
    b'{"decision":true}',
    b'{"decision":["allow"]}',
    b'{"Decision":"allow"}',
    b'{"decision":"allow"',
    b'{"decision":"allow"}}',
    b'{"decision":"deny","decision":"allow"}',
    b'{"decision":"allow","x":{"a":1,"a":2}}',
    b'{"decision":"allow","x":NaN}',
    b'{"decision":"allow","x":' + b"9" * 5000 + b"}",
    b'{"decision":"allow","ttl_seconds":-1}',
    b'{"decision":"allow","ttl_seconds":301}',
    b'{"decision":"allow","ttl_seconds":1.5}',
    b'{"decision":"allow","ttl_seconds":"30"}',
    b'{"decision":"allow","ttl_seconds":true}',
    b'{"decision":"allow","reference_id":""}',
    b'{"decision":"allow","reference_id":"a\\nb"}',
    b'{"decision":"allow","reference_id":"a\\n"}',
    b'{"decision":"allow","reference_id":889}',
    b'{"decision":"allow","reference_id":"' + b"a" * 129 + b'"}',
    b'{"decision":"allow","reason_code":"No Good"}',
    b'{"decision":"allow","reason_code":"low\\n"}',
    b'{"decision":"allow","display_message":7}',
    b"\xef\xbb\xbf" + ALLOW,
    ALLOW.decode().encode("utf-16"),
    b'{"decision":"allow","display_message":"\xff"}',
    b'{"decision":"allow","x":' + b"[" * 8000 + b"]" * 8000 + b"}",
    b'{"decision":"allow","pad":"' + b"x" * ANSWER_BYTES_MAX + b'"}',
]


@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: ascii(body[:40]))
async def test_a_body_that_is_not_the_agreed_one_is_malformed(
    gateway: Gateway, body: bytes
) -> None:
    async with scripted(response(200, body)) as server:
        failed = await gateway.failure(server.url())
    assert (failed.failure, failed.reached) == ("product_malformed", True)
    assert gateway.tripped


@pytest.mark.parametrize("content_type", ["text/html", "text/json", "application/jsonx", ""])
async def test_a_body_of_another_media_type_is_malformed(
    gateway: Gateway, content_type: str
) -> None:
    async with scripted(response(200, ALLOW, content_type=content_type)) as server:
        assert (await gateway.failure(server.url())).failure == "product_malformed"


async def test_a_body_of_exactly_sixteen_kibibytes_is_read(gateway: Gateway) -> None:
    empty = b'{"decision":"allow","pad":""}'
    body = empty[:-2] + b"x" * (ANSWER_BYTES_MAX - len(empty)) + empty[-2:]
    async with scripted(
        response(200, body, content_type="Application/JSON; charset=utf-8")
    ) as server:
        assert (await gateway.authorize(server.url())).decision == "allow"


async def test_the_detail_of_a_failure_never_repeats_the_body(gateway: Gateway) -> None:
    async with scripted(response(200, b'{"decision":"internal-secret"}')) as server:
        assert "internal-secret" not in (await gateway.failure(server.url())).detail


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _break_off(writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"decision":"al')
    await writer.drain()
    writer.close()


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        (None, "authorize_timeout"),
        (_hang_up, "connect_error"),
        (_break_off, "connect_error"),
        (b"SSH-2.0-OpenSSH\r\n", "product_malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + b"x" * 60_000, "product_malformed"),
    ],
    ids=["silence", "hang up", "broken off", "not http", "oversize"],
)
async def test_an_answer_that_does_not_come_is_a_failure_that_counts(
    gateway: Gateway, reply: Reply, failure: str
) -> None:
    async with scripted(reply) as server:
        failed = await gateway.failure(server.url(), deadline_s=0.8)
    assert (failed.failure, failed.reached) == (failure, True)
    assert gateway.tripped


@pytest.mark.parametrize(
    ("status", "failure"),
    [(403, "assertion_rejected"), (409, "product_refused"), (307, "product_malformed")],
)
async def test_a_refusal_whose_body_never_ends_does_not_become_a_timeout(
    gateway: Gateway, status: int, failure: str
) -> None:
    """A time-out may fail open, a refusal never. Without `status` in `_failure_of` this is
    `authorize_timeout`, and a lane that fails open would have opened."""
    unended = b"HTTP/1.1 %d No\r\nContent-Length: 99\r\n\r\n{" % status
    async with scripted(unended) as server:
        failed = await gateway.failure(server.url(), deadline_s=0.8)
    assert (failed.failure, failed.reached) == (failure, True)


async def test_a_dribbling_product_is_cut_at_the_total_deadline(gateway: Gateway) -> None:
    async def dribble(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with scripted(dribble) as server:
        loop = asyncio.get_running_loop()
        began = loop.time()
        failed = await gateway.failure(server.url(), deadline_s=0.8)
        assert 0.79 < loop.time() - began < 10
    assert failed.failure == "authorize_timeout"


async def test_a_late_answer_is_never_the_answer_of_the_next_call(gateway: Gateway) -> None:
    late = asyncio.Event()

    async def answer_late(writer: asyncio.StreamWriter) -> None:
        await late.wait()
        writer.write(response(200, ALLOW))

    deny = response(200, b'{"decision":"deny"}')
    async with scripted(answer_late, deny) as server:
        with pytest.raises(AuthorizeFailed):
            await gateway.authorize(server.url(), deadline_s=0.05, breaker=BreakerSettings())
        late.set()
        for _ in range(5):
            answer = await gateway.authorize(server.url(), breaker=BreakerSettings())
            assert answer.decision == "deny"


async def test_nobody_there_has_been_reached_by_nothing(gateway: Gateway) -> None:
    async with scripted(None) as server:
        url = server.url()
    failed = await gateway.failure(url)
    assert (failed.failure, failed.reached) == ("connect_error", False)
    assert gateway.tripped


async def test_a_forbidden_address_is_not_called_and_is_not_the_product_s_fault(
    gateway: Gateway,
) -> None:
    for url in ("https://169.254.169.254/", "http://10.0.0.1/", "https://user@example.com/"):
        failed = await gateway.failure(url)
        assert (failed.failure, failed.reached) == ("egress_blocked", False)
    assert not gateway.tripped


async def test_an_open_circuit_answers_at_once_and_calls_nobody(gateway: Gateway) -> None:
    async with scripted(response(500), response(200, ALLOW)) as server:
        assert (await gateway.failure(server.url())).failure == "product_5xx"
        failed = await gateway.failure(server.url())
        assert (failed.failure, failed.reached) == ("circuit_open", False)
        assert len(server.requests) == 1
    assert [(change.before, change.after) for change in gateway.changes] == [("closed", "open")]
    assert gateway.changes[0].service_id == SERVICE


async def test_one_device_cannot_open_the_circuit_for_the_others(gateway: Gateway) -> None:
    settings = BreakerSettings(consecutive_failures=4)
    async with scripted(response(200, ALLOW), response(500)) as server:
        await gateway.authorize(server.url(), device=2, breaker=settings)
        for _ in range(20):
            with pytest.raises(AuthorizeFailed) as failed:
                await gateway.authorize(server.url(), device=1, breaker=settings)
            assert failed.value.failure == "product_5xx"


async def test_cancelled_calls_do_not_open_the_circuit(gateway: Gateway) -> None:
    async with scripted(None) as server:
        calls = [asyncio.create_task(gateway.authorize(server.url())) for _ in range(6)]
        await server.until(lambda: len(server.requests) == 6)
        for call in calls:
            call.cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert not gateway.tripped


async def test_retry_after_keeps_the_circuit_open_for_as_long_as_asked(gateway: Gateway) -> None:
    async with scripted(response(429, b"", "Retry-After: 90")) as server:
        await gateway.failure(server.url())
    assert gateway.changes[0].open_s == 90.0


async def test_a_slow_answer_is_an_answer_that_counts_as_slow() -> None:
    class Clock(SystemClock):
        """Each look at the clock is five seconds later: every call takes that long."""

        def __init__(self) -> None:
            self.seconds = 0.0

        def monotonic(self) -> float:
            self.seconds += 5
            return self.seconds

    opened = Gateway()
    opened.use(Clock())
    settings = BreakerSettings(min_calls=2, window_s=600)
    async with scripted(response(200, ALLOW)) as server:
        for _ in range(2):
            answer = await opened.authorize(server.url(), deadline_s=6, breaker=settings)
            assert answer.decision == "allow"
    assert [change.after for change in opened.changes] == ["open"]
    await opened.client.close()


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("Approved \u00b7 SAR 50.00", "Approved \u00b7 SAR 50.00"),
        (
            "\u062a\u0645\u062a \u0627\u0644\u0645\u0648\u0627\u0641\u0642\u0629",
            "\u062a\u0645\u062a \u0627\u0644\u0645\u0648\u0627\u0641\u0642\u0629",
        ),
        ("  padded\t\r\n", "padded"),
        ("two\nlines", "two lines"),
        ("\x1b[2Jcleared\x07", "[2Jcleared"),
        ("Approved\u202e05.000,1", "Approved05.000,1"),
        ("\u2066iso\u2069lated\u200b\ufeff", "isolated"),
        ("\ud800lone", "lone"),
        ("\U000e0041tagged\ue000", "tagged"),
        ("\u0301\u0301no letter", "no letter"),
        ("a" * 500, "a" * 120),
        ("\u00e9" * 500, "\u00e9" * 120),
        ("e\u0301" * 500, "e\u0301" * 120),
        ("z" + "\u0301" * 500, "z" + "\u0301" * 8),
        (
            "\U0001f468\u200d\U0001f469\u200d\U0001f467!",
            "\U0001f468\u200d\U0001f469\u200d\U0001f467!",
        ),
    ],
    ids=lambda text: ascii(text[:24]),
)
async def test_a_message_is_cleaned_for_a_terminal(gateway: Gateway, sent: str, shown: str) -> None:
    body = json.dumps({"decision": "allow", "display_message": sent}).encode()
    async with scripted(response(200, body)) as server:
        answer = await gateway.authorize(server.url())
    assert answer.display_message == shown
    assert msgspec.json.encode(answer)


async def test_services_that_were_not_called_for_long_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tenants make services, so their number is theirs to choose."""
    monkeypatch.setattr(breakers_module, "BREAKERS_MAX", 3)

    class Away:
        async def request(self, *_: object, **__: object) -> Answer:
            raise OutboundFailed("connect", False, "no connection")

    breakers = Breakers(SystemClock())
    gateway = HttpLinkedServiceGateway(Away(), SystemClock(), breakers)
    once = BreakerSettings(consecutive_failures=1)
    for number in (1, 2, 1, 3, 4):
        call = AuthorizeCall(
            tenant_id=TenantId(UUID(int=1)),
            service_id=UUID(int=number),
            device_id=DeviceId(UUID(int=1)),
            url="https://product.example/authorize",
            bearer="header.payload.signature",
            body=b"{}",
            idempotency_key="01JB4Z6R3M8Q5T7V9X0C2D4E6F",
            deadline_s=1,
            breaker=once,
        )
        with pytest.raises(AuthorizeFailed):
            await gateway.authorize(call)
    assert sum(breakers.states().values()) == 3
