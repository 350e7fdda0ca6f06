"""Webhooks end to end: registered over HTTP, sent by the worker, verified as a stranger would.

The receiver demands our client certificate, and signatures are checked with the
`standardwebhooks` library and not with ours.
"""

import asyncio
import base64
import json
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError
from structlog.testing import capture_logs

from application.principals import operator
from application.tenants.webhook_endpoints import ENDPOINTS_MAX
from domain.ids import PLATFORM, parse
from infrastructure.edge.tls import public_context
from infrastructure.webhooks.message import signature
from infrastructure.webhooks.secrets import written
from tests.house.world import House, Tenancy, transaction
from tests.infrastructure.outbound.scripted_server import (
    Reply,
    ScriptedServer,
    response,
    scripted,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENCE_S = 30.0
PALM = b"the palm of somebody who is told of"


@asynccontextmanager
async def receiver(house: House, *replies: Reply) -> AsyncGenerator[ScriptedServer]:
    """A server of the tenant's that lets in nobody without our client certificate."""
    chain, key = house.platform.authority.issue_server(["localhost"])
    context = public_context(certificate_chain_pem=chain, private_key_pem=key)
    context.load_verify_locations(cadata=house.platform.authority.ca_bundle_pem())
    context.verify_mode = ssl.CERT_REQUIRED
    async with scripted(*(replies or (response(),)), tls=context) as server:
        yield server


def address(server: ScriptedServer) -> str:
    return server.url("/webhooks", "https", "localhost")


async def endpoint(tenant: Tenancy, url: str, *types: str, **fields: Any) -> dict[str, Any]:
    made = await tenant.api.post(
        "/v1/webhook-endpoints",
        json={"url": url, "event_types": list(types or ("device.revoked",)), **fields},
    )
    assert made.status_code == 201, made.text
    return dict(made.json())


async def revoke_a_device(tenant: Tenancy) -> str:
    made = await tenant.api.post(
        "/v1/devices",
        json={"type": "kiosk", "name": "K", "bound_product": "wallet", "bound_action": "pay"},
    )
    assert made.status_code == 201, made.text
    assert (await tenant.api.delete(f"/v1/devices/{made.json()['id']}")).status_code == 204
    return str(made.json()["id"])


async def arrivals(server: ScriptedServer, count: int) -> list[tuple[dict[str, str], bytes]]:
    """Headers and body of what has arrived, once it is so much."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if len(server.requests) >= count:
                break
            await asyncio.sleep(0.01)
    return [read(each) for each in server.requests]


def read(request: bytes) -> tuple[dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")[1:]
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return headers, body


async def deliveries(tenant: Tenancy, endpoint_id: str, **query: str) -> list[dict[str, Any]]:
    listed = await tenant.api.get(f"/v1/webhook-endpoints/{endpoint_id}/attempts", params=query)
    assert listed.status_code == 200, listed.text
    return list(listed.json()["items"])


async def until_state(
    tenant: Tenancy, endpoint_id: str, *states: tuple[str, str | None]
) -> list[dict[str, Any]]:
    """Wait until the endpoint's messages, the newest first, are in these states."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await deliveries(tenant, endpoint_id)
            if [(each["state"], each["reason"]) for each in found] == list(states):
                return found
            await asyncio.sleep(0.05)


async def now(house: House, statement: str) -> None:
    """Move what only time would move otherwise."""
    async with house.platform.projector_pool.connection() as connection:
        await connection.execute(statement.encode())


async def test_a_message_arrives_over_mutual_tls_and_verifies(house: House) -> None:
    tenant = await house.tenant()
    async with receiver(house) as server:
        made = await endpoint(tenant, address(server), "device.revoked")
        device_id = await revoke_a_device(tenant)
        ((headers, body),) = await arrivals(server, 1)
        (delivery,) = await until_state(tenant, made["id"], ("delivered", None))
    Webhook(made["secret"]).verify(body, headers)
    told = json.loads(body)
    assert told["type"] == "device.revoked"
    assert told["data"]["id"] == device_id
    assert (told["tenant_id"], told["api_version"]) == (f"ten_{tenant.tenant_id.hex}", "1")
    assert headers["webhook-id"] == delivery["event_id"]
    assert [each["outcome"] for each in delivery["tries"]] == ["delivered"]
    with pytest.raises(WebhookVerificationError):
        Webhook(made["secret"]).verify(body.replace(b"device", b"divice"), headers)


async def test_a_receiver_that_wants_our_certificate_is_not_reached_without(house: House) -> None:
    """What the test above could not tell: that the receiver does look."""
    tenant = await house.tenant(webhook_mtls_required=False)
    async with receiver(house) as server:
        made = await endpoint(tenant, address(server), mtls="off")
        await revoke_a_device(tenant)
        await until_state(tenant, made["id"], ("pending", "connect"))
        assert not server.requests


async def test_only_what_was_asked_for_is_told_and_only_from_then_on(house: House) -> None:
    tenant = await house.tenant()
    async with receiver(house) as server:
        await revoke_a_device(tenant)
        made = await endpoint(tenant, address(server), "consent.granted")
        other = await endpoint(tenant, address(server), "device.revoked")
        await revoke_a_device(tenant)
        await until_state(tenant, other["id"], ("delivered", None))
    assert await deliveries(tenant, made["id"]) == []


async def test_while_a_secret_is_rotated_both_verify(house: House) -> None:
    tenant = await house.tenant()
    async with receiver(house) as server:
        made = await endpoint(tenant, address(server))
        path = f"/v1/webhook-endpoints/{made['id']}"
        rotated = await tenant.api.post(f"{path}/rotate-secret", json={"overlap_s": 3600})
        assert rotated.status_code == 201
        assert rotated.json()["secret"] != made["secret"]
        await tenant.api.post(f"{path}/test")
        ((headers, body),) = await arrivals(server, 1)
        assert len(headers["webhook-signature"].split()) == 2
        for secret in (made["secret"], rotated.json()["secret"]):
            Webhook(secret).verify(body, headers)
        again = await tenant.api.post(f"{path}/rotate-secret", json={})
        assert (again.status_code, again.json()["code"]) == (409, "rotation_open")
        forced = await tenant.api.post(
            f"{path}/rotate-secret", json={"overlap_s": 0, "force": True}
        )
        await tenant.api.post(f"{path}/test")
        headers, body = (await arrivals(server, 2))[1]
        Webhook(forced.json()["secret"]).verify(body, headers)
        for secret in (made["secret"], rotated.json()["secret"]):
            with pytest.raises(WebhookVerificationError):
                Webhook(secret).verify(body, headers)


async def test_a_secret_is_shown_once_and_kept_sealed(house: House) -> None:
    tenant = await house.tenant()
    key = {"Idempotency-Key": uuid4().hex}
    asked = {"url": "https://localhost:9443/x", "event_types": ["device.revoked"]}
    first = await tenant.api.post("/v1/webhook-endpoints", json=asked, headers=key)
    secret = first.json()["secret"]
    assert secret.startswith("whsec_")
    repeated = await tenant.api.post("/v1/webhook-endpoints", json=asked, headers=key)
    shown = await tenant.api.get(f"/v1/webhook-endpoints/{first.json()['id']}")
    for answer in (repeated, shown):
        assert answer.json()["id"] == first.json()["id"]
        assert answer.json()["secret"] is None
    async with house.platform.app_pool.connection() as connection, connection.transaction():
        await connection.execute(
            "SELECT set_config('link.tenant_id', %s, true)", (str(tenant.tenant_id),)
        )
        found = await connection.execute("SELECT sealed FROM webhook_secrets")
        ((sealed,),) = await found.fetchall()
    assert base64.b64decode(secret.removeprefix("whsec_")) not in sealed


async def test_a_failed_message_is_sent_again_under_the_same_id(house: House) -> None:
    tenant = await house.tenant()
    async with receiver(house, response(500), response(200)) as server:
        made = await endpoint(tenant, address(server))
        await revoke_a_device(tenant)
        await until_state(tenant, made["id"], ("pending", "refused"))
        await now(house, "UPDATE deliveries SET due_at = now() WHERE lease_until IS NULL")
        (delivery,) = await until_state(tenant, made["id"], ("delivered", None))
        one, two = await arrivals(server, 2)
    assert [each["status"] for each in delivery["tries"]] == [500, 200]
    assert one[0]["webhook-id"] == two[0]["webhook-id"]
    assert one[1] == two[1]
    for headers, body in (one, two):
        Webhook(made["secret"]).verify(body, headers)


async def test_messages_are_replayed_by_id_by_time_and_if_they_failed(house: House) -> None:
    tenant = await house.tenant()
    async with receiver(house) as server:
        made = await endpoint(tenant, address(server))
        path = f"/v1/webhook-endpoints/{made['id']}/replay"
        for _ in range(2):
            await revoke_a_device(tenant)
        newest, oldest = await until_state(
            tenant, made["id"], ("delivered", None), ("delivered", None)
        )

        async def replayed(**which: object) -> int:
            answer = await tenant.api.post(path, json=which)
            assert answer.status_code == 202, answer.text
            return int(answer.json()["replayed"])

        assert await replayed(failed_only=True) == 0
        assert await replayed(event_id=oldest["event_id"]) == 1
        assert (await arrivals(server, 3))[2][0]["webhook-id"] == oldest["event_id"]
        await until_state(tenant, made["id"], ("delivered", None), ("delivered", None))
        assert await replayed(since=newest["recorded_at"]) == 1
        assert (await arrivals(server, 4))[3][0]["webhook-id"] == newest["event_id"]
        await until_state(tenant, made["id"], ("delivered", None), ("delivered", None))
        assert await replayed(until=newest["recorded_at"]) == 1
        await arrivals(server, 5)


async def test_a_receiver_that_is_gone_is_disabled_and_others_are_told(house: House) -> None:
    tenant = await house.tenant()
    async with receiver(house, response(410), response(200)) as server, receiver(house) as watch:
        made = await endpoint(tenant, address(server))
        watcher = await endpoint(tenant, address(watch), "webhook_endpoint.disabled")
        await revoke_a_device(tenant)
        await until_state(tenant, made["id"], ("dead", "gone"))
        ((_, body),) = await arrivals(watch, 1)
        assert json.loads(body)["data"] == {"id": made["id"], "reason": "gone"}
        await until_state(tenant, watcher["id"], ("delivered", None))
        path = f"/v1/webhook-endpoints/{made['id']}"
        shown = (await tenant.api.get(path)).json()
        assert (shown["status"], shown["disabled_reason"]) == ("disabled", "gone")
        refused = await tenant.api.post(f"{path}/test")
        assert (refused.status_code, refused.json()["code"]) == (409, "webhook_endpoint_disabled")
        await revoke_a_device(tenant)
        await until_state(tenant, made["id"], ("dead", "endpoint_disabled"), ("dead", "gone"))
        enabled = await tenant.api.post(f"{path}/enable")
        assert enabled.json()["status"] == "active"
        again = await tenant.api.post(f"{path}/replay", json={"failed_only": True})
        assert again.json()["replayed"] == 2
        await until_state(tenant, made["id"], ("delivered", None), ("delivered", None))


async def test_days_of_nothing_but_failures_disable_an_endpoint(house: House) -> None:
    tenant = await house.tenant()
    async with receiver(house, response(503)) as server:
        made = await endpoint(tenant, address(server))
        await revoke_a_device(tenant)
        await until_state(tenant, made["id"], ("pending", "refused"))
        await now(
            house,
            "UPDATE delivery_destinations SET failing_since = now() - interval '73 hours'"
            " WHERE failing_since IS NOT NULL",
        )
        await now(house, "UPDATE deliveries SET due_at = now() WHERE lease_until IS NULL")
        await until_state(tenant, made["id"], ("dead", "endpoint_disabled"))
    shown = (await tenant.api.get(f"/v1/webhook-endpoints/{made['id']}")).json()
    assert shown["disabled_reason"] == "sustained_failure"
    assert (await house.events(tenant))[-1] == "webhook_endpoint.disabled"


async def test_an_endpoint_that_was_enabled_again_has_its_days_anew(house: House) -> None:
    """Seen to fail when the run of failures is counted on from before it was enabled."""
    tenant = await house.tenant()
    async with receiver(house, response(503)) as server:
        made = await endpoint(tenant, address(server))
        path = f"/v1/webhook-endpoints/{made['id']}"

        async def days_pass() -> None:
            await now(
                house,
                "UPDATE delivery_destinations SET failing_since = now() - interval '73 hours'"
                " WHERE failing_since IS NOT NULL",
            )
            await now(house, "UPDATE deliveries SET due_at = now() WHERE lease_until IS NULL")

        await revoke_a_device(tenant)
        await until_state(tenant, made["id"], ("pending", "refused"))
        await days_pass()
        await until_state(tenant, made["id"], ("dead", "endpoint_disabled"))
        assert (await tenant.api.post(f"{path}/enable")).json()["status"] == "active"
        assert (await tenant.api.post(f"{path}/replay", json={"failed_only": True})).json() == {
            "replayed": 1
        }
        await until_state(tenant, made["id"], ("pending", "refused"))
        assert (await tenant.api.get(path)).json()["status"] == "active"
    async with house.platform.projector_pool.connection() as connection:
        found = await connection.execute(
            "SELECT now() - failing_since < interval '72 hours' FROM delivery_destinations"
            " WHERE destination = %s",
            (UUID(made["id"].removeprefix("whe_")),),
        )
        assert await found.fetchall() == [(True,)]


async def test_a_tenant_has_twenty_endpoints_and_no_more(house: House) -> None:
    tenant = await house.tenant()
    url, key = "https://localhost:9443/x", {"Idempotency-Key": uuid4().hex}
    asked = {"url": url, "event_types": ["device.revoked"]}
    first = await tenant.api.post("/v1/webhook-endpoints", json=asked, headers=key)
    for _ in range(ENDPOINTS_MAX - 1):
        await endpoint(tenant, url)
    refused = await tenant.api.post("/v1/webhook-endpoints", json=asked)
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_webhook_endpoints")
    repeated = await tenant.api.post("/v1/webhook-endpoints", json=asked, headers=key)
    assert (repeated.status_code, repeated.json()["id"]) == (201, first.json()["id"])
    await endpoint(await house.tenant(), url)
    removed = await tenant.api.delete(f"/v1/webhook-endpoints/{first.json()['id']}")
    assert removed.status_code == 204
    await endpoint(tenant, url)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"event_types": ["device.exploded"]}, 422, "event_types_invalid"),
        ({"event_types": ["device.revoked"] * 2}, 422, "event_types_invalid"),
        ({"mtls": "off"}, 422, "mtls_required"),
        ({"url": "https://169.254.169.254/latest"}, 422, "url_forbidden"),
        ({"url": "https://10.0.0.7/x"}, 422, "url_forbidden"),
        ({"url": "ftp://shop.example/x"}, 422, "url_scheme_forbidden"),
        ({"url": "https://user@shop.example/x"}, 422, "url_invalid"),
        ({"mtls": "maybe"}, 400, "invalid_request"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    house: House, change: dict[str, Any], status: int, code: str
) -> None:
    tenant = await house.tenant()
    good = {"url": "https://localhost:9443/x", "event_types": ["device.revoked"]}
    made = await tenant.api.post("/v1/webhook-endpoints", json=good | change)
    assert (made.status_code, made.json()["code"]) == (status, code)
    kept = await endpoint(tenant, str(good["url"]))
    path = f"/v1/webhook-endpoints/{kept['id']}"
    changed = await tenant.api.patch(path, json=change, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.json()["code"]) == (status, code)


async def test_nobody_is_told_what_they_may_not_read(house: House) -> None:
    tenant = await house.tenant()
    token = await house.token(tenant.tenant_id, "webhooks:write", "devices:read")
    api = await house.client(house.public_url, headers={"authorization": f"Bearer {token}"})
    narrow = Tenancy(tenant.tenant_id, api, tenant.service_id)
    made = await endpoint(narrow, "https://localhost:9443/x", "device.revoked")
    for types in (["user.signed_up"], ["device.revoked", "device.transaction.completed"]):
        asked = {"url": "https://localhost:9443/x", "event_types": types}
        refused = await api.post("/v1/webhook-endpoints", json=asked)
        assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
        path = f"/v1/webhook-endpoints/{made['id']}"
        changed = await api.patch(path, json={"event_types": types}, headers={"If-Match": '"1"'})
        assert (changed.status_code, changed.json()["code"]) == (403, "insufficient_scope")


async def test_a_transaction_is_told_without_anything_personal(house: House) -> None:
    tenant = await house.tenant(duplicate_palm_check=False)
    mobile = house.mobile()
    async with receiver(house) as server:
        made = await endpoint(
            tenant,
            address(server),
            "device.transaction.completed",
            "user.signed_up",
            "enrollment.complete",
            "consent.granted",
        )
        till = await house.device(tenant)
        palm = PALM + tenant.tenant_id.bytes
        user_id = await house.person(till, mobile, palm)
        answer = await till.http.post("/v1/device/transactions", json=transaction(palm))
        assert answer.json()["decision"] == "allow"
        await arrivals(server, 4)
        await until_state(tenant, made["id"], *[("delivered", None)] * 4)
        told = [json.loads(body) for _, body in await arrivals(server, 4)]
    decided = next(each for each in told if each["type"] == "device.transaction.completed")
    assert decided["data"]["id"] == answer.json()["transaction_id"]
    assert decided["data"]["user_id"] == user_id
    assert (decided["data"]["decision"], decided["data"]["device_id"]) == ("allow", till.id)
    everything = json.dumps(told)
    for canary in (mobile, mobile[1:], "scores", "thresholds", "tenant_key", "0.95"):
        assert canary not in everything


async def test_an_endpoint_is_changed_listed_and_removed(house: House) -> None:
    tenant = await house.tenant()
    made = await endpoint(tenant, "https://localhost:9443/x")
    path = f"/v1/webhook-endpoints/{made['id']}"
    change = {"event_types": ["device.paired", "device.revoked"]}
    without = await tenant.api.patch(path, json=change)
    assert without.status_code == 428
    stale = await tenant.api.patch(path, json=change, headers={"If-Match": '"9"'})
    assert stale.status_code == 412
    changed = await tenant.api.patch(path, json=change, headers={"If-Match": '"1"'})
    assert changed.json()["event_types"] == change["event_types"]
    newest = {"min_position": changed.headers["log-position"]}
    listed = await tenant.api.get("/v1/webhook-endpoints", params=newest)
    assert [each["id"] for each in listed.json()["items"]] == [made["id"]]
    assert listed.json()["items"][0]["version"] == 2
    removed = await tenant.api.delete(path)
    assert removed.status_code == 204
    newest = {"min_position": removed.headers["log-position"]}
    assert (await tenant.api.get(path)).status_code == 404
    listed = await tenant.api.get("/v1/webhook-endpoints", params=newest)
    assert listed.json()["items"] == []


async def test_another_tenants_endpoint_is_told_nothing_of_ours(house: House) -> None:
    ours, theirs = await house.tenant(), await house.tenant()
    async with receiver(house) as server:
        mine = await endpoint(ours, address(server))
        foreign = await endpoint(theirs, address(server))
        await revoke_a_device(ours)
        await until_state(ours, mine["id"], ("delivered", None))
        assert await deliveries(theirs, foreign["id"]) == []
        listed: httpx.Response = await theirs.api.get(
            f"/v1/webhook-endpoints/{mine['id']}/attempts"
        )
        assert listed.status_code == 404


async def test_a_read_model_halted_for_one_tenant_delays_that_tenants_messages_alone(
    house: House,
) -> None:
    """It once delayed everybody's."""
    ours, theirs = await house.tenant(), await house.tenant()

    async def waiting() -> int:
        found = await house.platform.duties.deliveries.standings()
        return next(each for each in found if each.kind == "webhook").tenants_waiting

    async def until_waiting(count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if await waiting() == count:
                    return
                await asyncio.sleep(0.05)

    async with receiver(house) as server:
        mine = await endpoint(ours, address(server))
        foreign = await endpoint(theirs, address(server))
        with capture_logs() as lines:
            async with house.platform.projector_pool.connection() as connection:
                await connection.execute(
                    "INSERT INTO projection_halts (name, tenant_id, position, event, error)"
                    " VALUES ('webhook_endpoints', %s, 1, 'device.revoked', 'ValueError')",
                    (ours.tenant_id,),
                )
            try:
                await revoke_a_device(ours)
                await until_waiting(1)
                await revoke_a_device(theirs)
                await until_state(theirs, foreign["id"], ("delivered", None))
                assert await deliveries(ours, mine["id"]) == []
            finally:
                await now(house, "DELETE FROM projection_halts WHERE name = 'webhook_endpoints'")
        await until_state(ours, mine["id"], ("delivered", None))
        await until_waiting(0)
    (told,) = [each for each in lines if each["event"] == "delivery_tenant_waits"]
    assert (told["tenant"], told["kind"]) == (str(ours.tenant_id), "webhook")
    assert told["reason"] == "read_model_halted"


async def test_the_page_for_strangers_verifies_what_we_sign() -> None:
    """The example in docs/webhooks.md, run as it stands."""
    page = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
    example = page.split("```python\n")[1].split("```")[0]
    scope: dict[str, Any] = {}
    exec(example, scope)  # noqa: S102
    key, body = bytes(range(32)), b'{"type":"device.revoked"}'
    at = int(time.time())
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(at),
        "webhook-signature": signature([bytes(32), key], "evt_1", at, body),
    }
    assert scope["verified"](written(key), headers, body)
    assert not scope["verified"](written(key), headers, body + b" ")
    assert not scope["verified"](written(bytes(31) + b"x"), headers, body)
    old = headers | {"webhook-timestamp": str(at - 3600)}
    assert not scope["verified"](written(key), old, body)


async def test_what_happens_while_a_tenant_is_suspended_is_told_after_it_is_resumed(
    house: House,
) -> None:
    """Planted: without the look at the tenant in `Webhooks.attempt` the message arrives before
    anything holds the endpoint, and the first wait runs out of patience."""
    async with receiver(house) as server:
        tenant = await house.tenant()
        to = await endpoint(tenant, address(server))
        made = await tenant.api.post("/v1/devices", json={"type": "kiosk", "name": "K"})
        platform, lifecycle = operator(PLATFORM, uuid4()), house.platform.services.tenant_lifecycle
        await lifecycle.suspend(platform, tenant.tenant_id, None, "unpaid")
        device_id, endpoint_id = parse("dev", made.json()["id"]), parse("whe", to["id"])
        assert device_id is not None
        await house.platform.services.devices.revoke(
            operator(tenant.tenant_id, uuid4()), device_id, "unspecified", None
        )
        held = "SELECT count(*) FROM delivery_destinations WHERE destination = %s"
        async with asyncio.timeout(PATIENCE_S):
            while True:
                async with house.platform.projector_pool.connection() as connection:
                    found = await (await connection.execute(held, (endpoint_id,))).fetchone()
                if found is not None and found[0]:
                    break
                await asyncio.sleep(0.05)
        assert server.requests == []
        await lifecycle.resume(platform, tenant.tenant_id, None)
        ((headers, body),) = await arrivals(server, 1)
        Webhook(to["secret"]).verify(body, headers)
        assert json.loads(body)["type"] == "device.revoked"
