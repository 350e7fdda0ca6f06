"""The example wallet: it charges once, for the platform only, and only what is there."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from application.ports import AuthorizeCall, AuthorizeFailed
from domain.ids import DeviceId, TenantId
from examples.product_endpoint import ProductSettings
from examples.wallet.app import wallet_app
from examples.wallet.money import Money, MoneyInvalid, read_money
from infrastructure.circuits.breakers import Breakers
from infrastructure.clock import SystemClock
from infrastructure.products.linked_service_gateway import HttpLinkedServiceGateway
from tests.clients.product.platform_double import (
    ISSUER,
    OTHER_TENANT,
    TENANT,
    USER,
    PlatformDouble,
    audience,
    platform,
)
from tests.examples.products import authorize, code_of, product
from tests.infrastructure.outbound.clients import loopback_client

OPENING = Money(10_000, "SAR")


@pytest.fixture
def double() -> Generator[PlatformDouble]:
    with platform() as opened:
        yield opened


def settings(double: PlatformDouble, database: Path | None = None) -> ProductSettings:
    return ProductSettings(
        jwks_url=double.url,
        issuer=ISSUER,
        audiences=(audience(),),
        database=":memory:" if database is None else str(database),
    )


@pytest.fixture
async def wallet(double: PlatformDouble, tmp_path: Path) -> AsyncGenerator[httpx.AsyncClient]:
    app = wallet_app(settings(double, tmp_path / "wallet.sqlite"), OPENING)
    async with product(app) as client:
        yield client


async def test_a_purchase_is_charged_and_allowed(
    double: PlatformDouble, wallet: httpx.AsyncClient
) -> None:
    response = await authorize(wallet, double)
    assert response.status_code == 200
    answer = response.json()
    assert answer["decision"] == "allow"
    assert answer["display_message"] == "Approved \u00b7 SAR 50.00"
    (charge,) = (await wallet.get("/charges")).json()
    assert (charge["minor"], charge["currency"]) == (5000, "SAR")
    assert charge["reference_id"] == answer["reference_id"]
    assert (charge["user_id"], charge["tenant_id"]) == (USER, TENANT)


async def test_a_purchase_beyond_the_balance_is_denied(
    double: PlatformDouble, wallet: httpx.AsyncClient
) -> None:
    body = double.body(context={"amount": "100.01", "currency": "SAR"})
    answer = (await authorize(wallet, double, body)).json()
    assert (answer["decision"], answer["reason_code"]) == ("deny", "insufficient_balance")
    exactly = double.body("key-2", context={"amount": "100.00", "currency": "SAR"})
    assert (await authorize(wallet, double, exactly)).json()["decision"] == "allow"


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"amount": "50.00"},
        {"amount": 50.0, "currency": "SAR"},
        {"amount": "-1", "currency": "SAR"},
        {"amount": "0.00", "currency": "SAR"},
        {"amount": "1e3", "currency": "SAR"},
        {"amount": "0.001", "currency": "SAR"},
        {"amount": "1.00", "currency": "XXX"},
        {"amount": "1.00", "currency": ["SAR"]},
    ],
    ids=str,
)
async def test_an_amount_that_is_not_one_is_denied(
    double: PlatformDouble, wallet: httpx.AsyncClient, context: dict[str, object]
) -> None:
    answer = (await authorize(wallet, double, double.body(context=context))).json()
    assert (answer["decision"], answer["reason_code"]) == ("deny", "amount_invalid")
    assert (await wallet.get("/charges")).json() == []


async def advise(
    wallet: httpx.AsyncClient, double: PlatformDouble, key: str = "key-1", **changes: Any
) -> httpx.Response:
    body = double.body(key, action="advice", **{"advised_action": "pay", **changes})
    token, raw = double.call(body)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    return await wallet.post("/advice", content=raw, headers=headers)


async def test_what_was_sold_while_the_wallet_was_silent_is_charged_once(
    double: PlatformDouble, wallet: httpx.AsyncClient
) -> None:
    """Beyond the balance, too: the person has the goods."""
    costly = {"amount": "150.00", "currency": "SAR"}
    statuses = [(await advise(wallet, double, context=costly)).json() for _ in range(2)]
    assert statuses == [{"status": "recorded"}, {"status": "already_recorded"}]
    late = await authorize(wallet, double, double.body(context=costly))
    assert (late.json()["decision"], late.headers["idempotent-replayed"]) == ("allow", "true")
    assert [each["minor"] for each in (await wallet.get("/charges")).json()] == [15000]


async def test_an_advice_of_another_action_or_amount_charges_nothing(
    double: PlatformDouble, wallet: httpx.AsyncClient
) -> None:
    other = await advise(wallet, double, advised_action="open")
    assert (other.status_code, code_of(other)) == (403, "action_not_allowed")
    unclear = await advise(wallet, double, context={"amount": "much"})
    assert (unclear.status_code, code_of(unclear)) == (422, "advice_not_understood")
    assert (await wallet.get("/charges")).json() == []


async def test_a_retry_is_answered_alike_and_charged_once(
    double: PlatformDouble, wallet: httpx.AsyncClient
) -> None:
    first = await authorize(wallet, double)
    again = await authorize(wallet, double, double.body(attempt=2))
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.content == first.content
    assert len((await wallet.get("/charges")).json()) == 1


async def test_the_same_key_for_another_purchase_is_refused(
    double: PlatformDouble, wallet: httpx.AsyncClient
) -> None:
    await authorize(wallet, double)
    other = double.body(context={"amount": "1.00", "currency": "SAR"})
    response = await authorize(wallet, double, other)
    assert (response.status_code, code_of(response)) == (422, "idempotency_key_reused")
    assert len((await wallet.get("/charges")).json()) == 1


async def test_twenty_calls_at_once_under_one_key_charge_once(
    double: PlatformDouble, wallet: httpx.AsyncClient
) -> None:
    responses = await asyncio.gather(*(authorize(wallet, double) for _ in range(20)))
    assert {response.status_code for response in responses} == {200}
    assert len({response.content for response in responses}) == 1
    assert len((await wallet.get("/charges")).json()) == 1


async def test_many_purchases_at_once_never_overdraw(
    double: PlatformDouble, wallet: httpx.AsyncClient
) -> None:
    bodies = [double.body(f"key-{number}") for number in range(10)]
    responses = await asyncio.gather(*(authorize(wallet, double, body) for body in bodies))
    assert [r.json()["decision"] for r in responses].count("allow") == 2


async def test_a_restart_keeps_balances_charges_and_answers(
    double: PlatformDouble, tmp_path: Path
) -> None:
    answers: list[bytes] = []
    for _ in range(2):
        app = wallet_app(settings(double, tmp_path / "kept.sqlite"), OPENING)
        async with product(app) as client:
            answers.append((await authorize(client, double)).content)
            assert len((await client.get("/charges")).json()) == 1
    assert answers[0] == answers[1]


async def test_nobody_but_the_platform_is_served(
    double: PlatformDouble, wallet: httpx.AsyncClient
) -> None:
    token, raw = double.call()
    for headers, code in (
        ({}, "assertion_missing"),
        ({"Authorization": f"Basic {token}"}, "assertion_missing"),
        ({"Authorization": f"Bearer {double.access_token()}"}, "assertion_of_another_kind"),
    ):
        response = await wallet.post("/authorize", content=raw, headers=headers)
        assert (response.status_code, code_of(response)) == (401, code)
        assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    bearer = {"Authorization": f"Bearer {token}"}
    assert (await wallet.post("/authorize", content=raw, headers=bearer)).status_code == 200
    replay = await wallet.post("/authorize", content=raw, headers=bearer)
    assert (replay.status_code, code_of(replay)) == (401, "assertion_replayed")


async def test_a_void_is_not_an_authorize(
    double: PlatformDouble, wallet: httpx.AsyncClient
) -> None:
    response = await authorize(wallet, double, double.body(action="void"))
    assert (response.status_code, code_of(response)) == (403, "action_not_allowed")


async def test_an_audience_can_be_added_while_running(
    double: PlatformDouble, wallet: httpx.AsyncClient
) -> None:
    body = double.body(tenant_id=OTHER_TENANT)
    assert (await authorize(wallet, double, body)).status_code == 401
    added = await wallet.post("/admin/audiences", json={"audience": audience(OTHER_TENANT)})
    assert added.status_code == 201
    assert (await authorize(wallet, double, body)).status_code == 200
    refused = await wallet.post("/admin/audiences", json={"audience": "wallet"})
    assert (refused.status_code, code_of(refused)) == (422, "audience_invalid")


async def test_a_balance_can_be_set(double: PlatformDouble, wallet: httpx.AsyncClient) -> None:
    path = f"/admin/balances/{TENANT}/{USER}"
    money = {"amount": "49.99", "currency": "SAR"}
    assert (await wallet.put(path, json=money)).json() == money
    assert (await authorize(wallet, double)).json()["reason_code"] == "insufficient_balance"
    assert (await wallet.put(path, json={**money, "amount": "x"})).status_code == 422


async def test_the_operator_s_door_opens_to_loopback_only(double: PlatformDouble) -> None:
    async with product(wallet_app(settings(double), OPENING), peer="192.0.2.1") as client:
        assert (await client.get("/charges")).status_code == 401
        assert (await client.put("/admin/mode", json={"mode": "hang"})).status_code == 401
        assert (await client.get("/health")).json() == {"status": "ok"}
        assert (await authorize(client, double)).status_code == 200


async def test_a_failing_wallet_answers_500_until_told_otherwise(
    double: PlatformDouble, wallet: httpx.AsyncClient
) -> None:
    await wallet.put("/admin/mode", json={"mode": "fail"})
    assert (await authorize(wallet, double)).status_code == 500
    await wallet.put("/admin/mode", json={"mode": "normal"})
    assert (await authorize(wallet, double)).status_code == 200


async def test_a_hanging_wallet_never_charges_late(
    double: PlatformDouble, wallet: httpx.AsyncClient
) -> None:
    await wallet.put("/admin/mode", json={"mode": "hang"})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await authorize(wallet, double)
    async with asyncio.timeout(30):
        while (await wallet.get("/admin/mode")).json()["waiting"]:
            continue
    hanging = asyncio.gather(*(authorize(wallet, double) for _ in range(3)))
    async with asyncio.timeout(30):
        while (await wallet.get("/admin/mode")).json()["waiting"] < 3:
            assert not hanging.done()
    await wallet.put("/admin/mode", json={"mode": "normal"})
    assert {code_of(response) for response in await hanging} == {"was_hanging"}
    assert (await wallet.get("/charges")).json() == []


@pytest.mark.parametrize(
    ("amount", "currency", "minor", "shown"),
    [
        ("50.00", "SAR", 5000, "SAR 50.00"),
        ("50", "SAR", 5000, "SAR 50.00"),
        ("0.5", "SAR", 50, "SAR 0.50"),
        ("1.234", "KWD", 1234, "KWD 1.234"),
        ("500", "JPY", 500, "JPY 500"),
    ],
)
def test_money_is_counted_in_whole_minor_units(
    amount: str, currency: str, minor: int, shown: str
) -> None:
    money = read_money(amount, currency)
    assert (money.minor, str(money)) == (minor, shown)


@pytest.mark.parametrize(
    "amount", ["", ".5", "5.", "05", "1,000", "1 000", "+1", "1.2345", "\u0661"]
)
def test_what_is_not_plain_decimal_text_is_no_amount(amount: str) -> None:
    with pytest.raises(MoneyInvalid):
        read_money(amount, "KWD")


async def test_the_program_serves_the_platform_s_own_gateway(
    double: PlatformDouble, tmp_path: Path
) -> None:
    """The real process, called by the real gateway: an allow, then a hang that is cut off."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.wallet", "--port", str(port), "--jwks", double.url),
        *("--issuer", ISSUER, "--audience", audience(), "--opening-balance", "100"),
        *("--database", str(tmp_path / "wallet.sqlite")),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    client = loopback_client()
    gateway = HttpLinkedServiceGateway(client, SystemClock(), Breakers(SystemClock()))
    base = f"http://127.0.0.1:{port}"

    def call(key: str, deadline_s: float) -> AuthorizeCall:
        token, raw = double.call(double.body(key))
        return AuthorizeCall(
            tenant_id=TenantId(UUID(int=1)),
            service_id=UUID(int=2),
            device_id=DeviceId(UUID(int=3)),
            url=f"{base}/authorize",
            bearer=token,
            body=raw,
            idempotency_key=key,
            deadline_s=deadline_s,
        )

    try:
        async with httpx.AsyncClient(base_url=base) as operator:
            async with asyncio.timeout(20):
                while not await _is_up(operator):
                    assert program.returncode is None
            answer = await gateway.authorize(call("key-1", 5.0))
            assert (answer.decision, answer.ttl_seconds) == ("allow", 30)
            assert answer.reference_id is not None
            await operator.put("/admin/mode", json={"mode": "hang"})
            with pytest.raises(AuthorizeFailed) as failed:
                await gateway.authorize(call("key-2", 0.2))
            assert (failed.value.failure, failed.value.reached) == ("authorize_timeout", True)
            await operator.put("/admin/mode", json={"mode": "normal"})
            assert len((await operator.get("/charges")).json()) == 1
    finally:
        await client.close()
        program.send_signal(signal.SIGTERM)
        await program.wait()


async def _is_up(operator: httpx.AsyncClient) -> bool:
    try:
        return (await operator.get("/health")).status_code == 200
    except httpx.TransportError:
        return False


async def _void(
    double: PlatformDouble, wallet: httpx.AsyncClient, key: str = "key-1", **changes: str
) -> httpx.Response:
    members: dict[str, object] = {"action": "void", "context": {}, "reason": "timeout", **changes}
    token, raw = double.call(double.body(key, **members))
    return await wallet.post("/void", content=raw, headers={"Authorization": f"Bearer {token}"})


async def test_a_void_gives_the_money_back_once(
    double: PlatformDouble, wallet: httpx.AsyncClient
) -> None:
    await authorize(wallet, double)
    assert [(await _void(double, wallet)).json() for _ in range(2)] == [
        {"status": "voided"},
        {"status": "already_voided"},
    ]
    assert (await wallet.get("/charges")).json() == []
    whole = double.body("key-2", context={"amount": "100.00", "currency": "SAR"})
    assert (await authorize(wallet, double, whole)).json()["decision"] == "allow"


async def test_a_purchase_that_comes_after_its_void_is_not_charged(
    double: PlatformDouble, wallet: httpx.AsyncClient
) -> None:
    assert (await _void(double, wallet)).json() == {"status": "not_found"}
    assert (await authorize(wallet, double)).json()["decision"] == "deny"
    assert (await wallet.get("/charges")).json() == []


async def test_a_purchase_is_no_void_and_a_void_no_purchase(
    double: PlatformDouble, wallet: httpx.AsyncClient
) -> None:
    answered = await _void(double, wallet, action="pay")
    assert (answered.status_code, code_of(answered)) == (403, "action_not_allowed")
    token, raw = double.call(double.body(action="void", context={}))
    answered = await wallet.post(
        "/authorize", content=raw, headers={"Authorization": f"Bearer {token}"}
    )
    assert (answered.status_code, code_of(answered)) == (403, "action_not_allowed")
