"""`/v1/tenants`: whoever runs the platform creates, suspends and resumes, and every door obeys."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from domain.ids import PLATFORM, wire
from tests.house.pages import every_item
from tests.house.world import INSTALLATION, House, key_and_csr, transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENCE_S = 30.0
PALM = b"a palm of a tenant that comes and goes"


async def platform_client(house: House) -> httpx.AsyncClient:
    client = await house.client(house.public_url)
    client.headers["authorization"] = f"Bearer {await house.token(PLATFORM, 'tenants:write')}"
    return client


async def until(asked: Callable[[], Awaitable[httpx.Response]], status: int, code: str) -> None:
    """Ask again until that is the answer: another process hears of it a moment later."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answered = await asked()
            told = answered.json().get("code") or answered.json().get("error", "")
            if (answered.status_code, told) == (status, code):
                return
            await asyncio.sleep(0.05)


async def test_a_tenant_is_created_found_changed_and_only_by_the_platform(house: House) -> None:
    platform = await platform_client(house)
    key = {"idempotency-key": uuid4().hex}
    made = await platform.post("/v1/tenants", json={"name": "Fresh", "sandbox": True}, headers=key)
    assert made.status_code == 201, made.text
    path = made.headers["location"]
    again = await platform.post("/v1/tenants", json={"name": "Fresh", "sandbox": True}, headers=key)
    assert again.json() == made.json()
    other = await platform.post("/v1/tenants", json={"name": "Other", "sandbox": True}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")

    settings = await platform.patch(
        f"{path}/settings", json={"kyc_required": True}, headers={"if-match": '"1"'}
    )
    assert settings.status_code == 200, settings.text
    newest = settings.headers["log-position"]
    listed = await every_item(platform, "/v1/tenants", min_position=newest)
    (found,) = [each for each in listed if each["id"] == made.json()["id"]]
    assert (found["name"], found["sandbox"], found["status"], found["version"]) == (
        "Fresh",
        True,
        "active",
        2,
    )
    shown = await platform.get(path)
    assert shown.json()["settings"]["kyc_required"]

    tenant = await house.tenant()
    for answered in (
        await tenant.api.get("/v1/tenants"),
        await tenant.api.get(path),
        await tenant.api.get(f"/v1/tenants/{wire('ten', tenant.tenant_id)}"),
        await tenant.api.post("/v1/tenants", json={"name": "Mine"}),
        await tenant.api.post(f"{path}/suspend", json={}),
    ):
        assert (answered.status_code, answered.json()["code"]) == (404, "tenant_not_found")


async def test_a_suspended_tenant_is_served_at_no_door_until_it_is_resumed(house: House) -> None:
    """Devices, access tokens, the token endpoint, introspection, people's tokens and refresh
    tokens, ways in, pairing, and a stream that is being read."""
    tenant = await house.tenant()
    till = await house.device(tenant)
    await house.person(till, house.mobile(), PALM + tenant.tenant_id.bytes)
    public = await house.client(house.public_url)
    mobile = house.mobile()
    signed_in = await house.sign_in(tenant, public, mobile)
    person = {"authorization": f"Bearer {signed_in['access_token']}"}
    admin = await house.operator("tenant_admin", tenant.tenant_id)
    made = await tenant.api.post(
        "/v1/oauth-clients", json={"name": "shop", "scopes": ["audit:read"]}
    )
    basic = (made.json()["id"], made.json()["client_secret"])
    unpaired = await tenant.api.post("/v1/devices", json={"type": "kiosk", "name": "Kiosk"})
    code = unpaired.json()["pairing"]["code"]
    who = {"tenant_id": wire("ten", tenant.tenant_id), "installation": INSTALLATION}
    token = tenant.api.headers["authorization"].removeprefix("Bearer ")

    async def refresh() -> httpx.Response:
        body = {"refresh_token": signed_in["refresh_token"], "installation": INSTALLATION}
        return await public.post("/v1/auth/refresh", json=body)

    doors: list[tuple[Callable[[], Awaitable[httpx.Response]], int, str]] = [
        (lambda: tenant.api.get("/v1/devices"), 403, "tenant_suspended"),
        (lambda: public.get("/v1/auth/sessions", headers=person), 403, "tenant_suspended"),
        (refresh, 403, "tenant_suspended"),
        (lambda: admin.get("/v1/devices"), 403, "tenant_suspended"),
        (lambda: admin.get("/v1/console/me"), 403, "tenant_suspended"),
        (
            lambda: public.post(
                "/v1/auth/codes", json={**who, "channel": "sms", "destination": mobile}
            ),
            403,
            "tenant_suspended",
        ),
        (
            lambda: public.post(
                "/oauth2/token", data={"grant_type": "client_credentials"}, auth=basic
            ),
            401,
            "invalid_client",
        ),
        (
            lambda: public.post("/oauth2/introspect", data={"token": token}, auth=basic),
            401,
            "invalid_client",
        ),
        (lambda: till.http.post("/v1/device/transactions", json=pay()), 403, "tenant_suspended"),
        (
            lambda: till.http.post("/v1/device/signup", json={"mobile": mobile}),
            403,
            "tenant_suspended",
        ),
        (
            lambda: public.post("/v1/device/pair", json={"code": code, "csr": key_and_csr()[1]}),
            403,
            "tenant_suspended",
        ),
    ]

    def pay() -> dict[str, Any]:
        return transaction(PALM + tenant.tenant_id.bytes)

    reading = asyncio.create_task(
        tenant.api.get("/v1/audit/stream", params={"wait": 60, "after": await house.end()})
    )
    await until_read(house, tenant.tenant_id)
    platform = await platform_client(house)
    path = f"/v1/tenants/{wire('ten', tenant.tenant_id)}"
    suspended = await platform.post(f"{path}/suspend", json={"reason": "unpaid"})
    assert (suspended.status_code, suspended.json()["status"]) == (200, "suspended")
    for asked, status, told in doors:
        await until(asked, status, told)
    streamed = await asyncio.wait_for(reading, PATIENCE_S)
    lines = [json.loads(line) for line in streamed.text.splitlines()]
    assert "tenant_suspended" in [line.get("action") for line in lines]
    calls = len(house.product.calls)
    line = {"idempotency_key": "a" * 20, "outcome": "not_received", "at": "2026-03-01T09:00:00Z"}
    journal = await till.http.post("/v1/device/journal", json={"entries": [line]})
    assert journal.status_code < 300, journal.text
    assert len(house.product.calls) == calls

    resumed = await platform.post(f"{path}/resume")
    assert (resumed.status_code, resumed.json()["status"]) == (200, "active")
    assert (await tenant.api.get("/v1/devices")).status_code == 200
    assert (await public.get("/v1/auth/sessions", headers=person)).status_code == 200
    assert (await refresh()).status_code == 200
    paid = await till.http.post("/v1/device/transactions", json=pay())
    assert paid.json()["decision"] == "allow", paid.text
    issued = await public.post(
        "/oauth2/token", data={"grant_type": "client_credentials"}, auth=basic
    )
    assert issued.status_code == 200
    paired = await public.post("/v1/device/pair", json={"code": code, "csr": key_and_csr()[1]})
    assert paired.status_code == 201, paired.text


async def until_read(house: House, tenant_id: Any) -> None:
    """Until somebody reads the audit of the tenant as it grows."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if house.platform.audit_feed.listening(tenant_id):
                return
            await asyncio.sleep(0.02)
