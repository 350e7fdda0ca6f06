"""`?as_of=`: every resource as it was, folded from its stream and not from today's read model."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest

from application.principals import operator
from tests.house.pages import every_item
from tests.house.world import TIMEOUT_MS, House, Tenancy, transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")

PALM = b"the palm that is asked about later"


async def told(tenant: Tenancy, path: str, as_of: object) -> dict[str, Any]:
    answered = await tenant.api.get(f"{path}?as_of={quote(str(as_of))}")
    assert answered.status_code == 200, answered.text
    body: dict[str, Any] = answered.json()
    return body


async def positions(house: House, tenant: Tenancy, wire_id: str) -> list[int]:
    """Where the events of a stream stand; other tenants' may stand between them."""
    stream_id = UUID(hex=wire_id.partition("_")[2])
    past = await house.platform.log.load(tenant.tenant_id, stream_id)
    return [recorded.position for recorded in past]


async def test_a_device_is_shown_in_each_state_that_it_has_had(house: House) -> None:
    tenant = await house.tenant()
    before = await house.end()
    device = await house.device(tenant)
    path = f"/v1/devices/{device.id}"
    paired = await house.end()
    await tenant.api.delete(path, params={"reason": "lost"})
    registered, code_issued, *_ = await positions(house, tenant, device.id)
    for position in (registered, code_issued):
        assert (await told(tenant, path, position))["status"] == "pending_pairing"
    assert (await told(tenant, path, paired))["status"] == "active"
    assert (await told(tenant, path, await house.end()))["status"] == "revoked"
    absent = await tenant.api.get(path, params={"as_of": before})
    assert (absent.status_code, absent.json()["code"]) == (404, "device_not_found")


async def test_a_person_a_product_and_the_settings_are_shown_as_they_were(house: House) -> None:
    tenant = await house.tenant()
    product = f"/v1/linked-services/{tenant.service_id}"
    began = await house.end()
    till = await house.device(tenant)
    user_id = await house.signed_up(till, house.mobile())
    signed_up = await house.end()
    consent = {"user_id": user_id, "consent_type": "palm_enrollment", "version": "1"}
    await till.http.post("/v1/device/consent", json=consent)
    caller = operator(tenant.tenant_id, house.platform.ids.uuid())
    await house.platform.tenants.change_settings(caller, {"consent_required": False})
    await tenant.api.patch(product, json={"timeout_ms": 650}, headers={"if-match": '"1"'})
    now = await house.end()
    assert (await told(tenant, f"/v1/users/{user_id}", signed_up))["consents"] == []
    assert len((await told(tenant, f"/v1/users/{user_id}", now))["consents"]) == 1
    assert (await told(tenant, product, signed_up))["timeout_ms"] == TIMEOUT_MS
    assert (await told(tenant, product, now))["timeout_ms"] == 650
    assert (await told(tenant, "/v1/tenant", signed_up))["settings"]["consent_required"] is True
    assert (await told(tenant, "/v1/tenant", now))["settings"]["consent_required"] is False
    today = (await tenant.api.get("/v1/tenant")).json()
    assert today == await told(tenant, "/v1/tenant", now)
    assert (await told(tenant, "/v1/users", signed_up))["items"][0]["consents"] == []
    assert (await told(tenant, "/v1/users", began))["items"] == []
    assert [
        each["timeout_ms"] for each in (await told(tenant, "/v1/linked-services", began))["items"]
    ] == [TIMEOUT_MS]


async def test_a_deleted_product_is_still_there_in_the_past(house: House) -> None:
    tenant = await house.tenant()
    path, then = f"/v1/linked-services/{tenant.service_id}", await house.end()
    assert (await tenant.api.delete(path)).status_code == 204
    assert (await told(tenant, path, then))["status"] == "active"
    assert len((await told(tenant, "/v1/linked-services", then))["items"]) == 1
    gone = await tenant.api.get(path, params={"as_of": await house.end()})
    assert gone.json()["code"] == "linked_service_not_found"
    assert (await told(tenant, "/v1/linked-services", await house.end()))["items"] == []


async def test_a_time_means_the_last_position_at_or_before_it(house: House) -> None:
    tenant = await house.tenant()
    till = await house.device(tenant)
    position = await house.end()
    lines = await tenant.api.get("/v1/audit", params={"min_position": position, "limit": 1})
    recorded_at = lines.json()["items"][0]["recorded_at"]
    path = f"/v1/devices/{till.id}"
    for spelled in (recorded_at, recorded_at.lower(), in_riyadh(recorded_at)):
        answered = await tenant.api.get(f"{path}?as_of={quote(spelled)}")
        assert answered.json()["status"] == "active", spelled
        told_position = int(answered.headers["log-position"])
        assert told_position >= position
    early = await tenant.api.get(path, params={"as_of": "2020-02-29T00:00:00Z"})
    assert early.json()["code"] == "device_not_found"


def in_riyadh(text: str) -> str:
    """The same moment on a clock three hours ahead."""
    moment = datetime.fromisoformat(text) + timedelta(hours=3)
    return moment.replace(tzinfo=None).isoformat() + "+03:00"


@pytest.mark.parametrize(
    ("as_of", "code"),
    [
        ("-1", "as_of_invalid"),
        ("1.5", "as_of_invalid"),
        ("1e3", "as_of_invalid"),
        ("", "as_of_invalid"),
        ("latest", "as_of_invalid"),
        ("٣", "as_of_invalid"),
        ("9" * 19, "as_of_invalid"),
        ("9" * 18, "as_of_in_future"),
        ("2026-01-01", "as_of_invalid"),
        ("2026-01-01T00:00:00", "as_of_invalid"),
        ("2026-02-30T00:00:00Z", "as_of_invalid"),
        ("2026-01-01T00:00:60Z", "as_of_invalid"),
        ("2026-01-01T00:00:00+25:00", "as_of_invalid"),
        ("2026-01-01T00:00:00 03:00", "as_of_invalid"),
        ("0000-01-01T00:00:00Z", "as_of_invalid"),
        ("0001-01-01T00:00:00+14:00", "as_of_invalid"),
        ("9999-12-31T23:59:59-14:00", "as_of_invalid"),
        ("9999-12-31T23:59:59Z", "as_of_in_future"),
        ("1" * 41, "invalid_request"),
    ],
)
async def test_a_moment_that_is_none_or_has_not_come_is_refused(
    house: House, as_of: str, code: str
) -> None:
    tenant = await house.tenant()
    for path in ("/v1/tenant", "/v1/devices", "/v1/users/usr_" + "0" * 32):
        answered = await tenant.api.get(f"{path}?as_of={quote(as_of)}")
        assert (answered.status_code, answered.json()["code"]) == (400, code), path


async def test_a_decision_links_what_it_rested_on_and_each_link_shows_it(house: House) -> None:
    tenant = await house.tenant()
    till = await house.device(tenant)
    user_id = await house.person(till, house.mobile(), PALM)
    decided = (await till.http.post("/v1/device/transactions", json=transaction(PALM))).json()
    assert decided["decision"] == "allow"
    path, then = f"/v1/transactions/{decided['transaction_id']}", await house.end()
    caller = operator(tenant.tenant_id, house.platform.ids.uuid())
    await house.platform.tenants.change_settings(caller, {"kyc_required": True})
    await tenant.api.delete(f"/v1/devices/{till.id}")
    newest = {"min_position": await house.end()}
    shown = (await tenant.api.get(path, params=newest)).json()
    links = {each["what"]: each for each in shown["determined_by"]}
    assert set(links) == {
        "device_binding",
        "certificate",
        "tenant_settings",
        "match_policy",
        "person",
        "consent",
        "palm",
        "linked_service",
    }
    assert links["device_binding"]["resource_id"] == till.id
    assert links["person"]["resource_id"] == user_id
    seen = await asyncio.gather(*(tenant.api.get(each["href"]) for each in links.values()))
    assert {answered.status_code for answered in seen} == {200}
    as_read = {what: answered.json() for what, answered in zip(links, seen, strict=True)}
    assert as_read["certificate"]["status"] == "active"
    assert as_read["match_policy"]["settings"]["kyc_required"] is False
    assert as_read["consent"]["consents"][0]["granted"] is True
    assert as_read["palm"]["status"] == "completed"
    assert as_read["linked_service"]["id"] == tenant.service_id
    assert (await told(tenant, path, then))["determined_by"] == shown["determined_by"]


async def test_a_transaction_is_shown_as_far_as_it_had_come(house: House) -> None:
    tenant = await house.tenant()
    till = await house.device(tenant)
    await house.person(till, house.mobile(), PALM)
    before = await house.end()
    decided = (await till.http.post("/v1/device/transactions", json=transaction(PALM))).json()
    path = f"/v1/transactions/{decided['transaction_id']}"
    steps = (await positions(house, tenant, decided["transaction_id"]))[:4]
    states = [(await told(tenant, path, position))["state"] for position in steps]
    assert states == ["received", "identified", "authorizing", "decided"]
    early = await told(tenant, path, steps[0])
    assert {each["what"] for each in early["determined_by"]} == {
        "device_binding",
        "certificate",
        "tenant_settings",
        "match_policy",
    }
    listed = await told(tenant, "/v1/transactions", steps[1])
    assert [each["state"] for each in listed["items"]] == ["identified"]
    assert (await told(tenant, "/v1/transactions", before))["items"] == []


async def test_a_list_as_of_a_moment_is_paged_and_filtered_like_todays(house: House) -> None:
    tenant = await house.tenant()
    made = [
        (await tenant.api.post("/v1/devices", json={"type": "kiosk", "name": f"Kiosk {n}"})).json()
        for n in range(5)
    ]
    then = await house.end()
    for device in made[::2]:
        await tenant.api.delete(f"/v1/devices/{device['id']}")
    await tenant.api.post("/v1/devices", json={"type": "kiosk", "name": "Kiosk of later"})
    now = await house.end()

    async def listed(**asked: Any) -> list[str]:
        items = await every_item(tenant.api, "/v1/devices", limit=2, **asked)
        return [item["id"] for item in items]

    ids = [device["id"] for device in made]
    assert await listed(as_of=then) == ids
    assert await listed(as_of=then, status="revoked") == []
    assert await listed(as_of=now, status="revoked") == ids[::2]
    assert await listed(as_of=now) == await listed(min_position=now)


async def test_now_is_no_future(house: House) -> None:
    tenant = await house.tenant()
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    assert (await told(tenant, "/v1/tenant", now))["version"] >= 1
