"""People as their integrator manages them: over the wire, with ETags and what they are refused."""

import pytest

from tests.house.world import House, transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")

PALM = b"the palm of a managed person"
KEY = {"idempotency-key": "crm-signup-000117"}


async def test_a_person_is_signed_up_changed_found_and_deleted(house: House) -> None:
    tenant = await house.tenant()
    mobile = house.mobile()
    body = {"name": "Sara", "mobile": mobile, "email": "Sara@Example.com", "external_id": "crm|1"}
    made = await tenant.api.post("/v1/users", json=body, headers=KEY)
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    assert made.json()["fields"] == ["email", "external_id", "mobile", "name"]
    assert not {mobile, "Sara", "crm|1"} & set(made.text.split('"'))
    path = made.headers["location"]
    again = await tenant.api.post("/v1/users", json=body, headers=KEY)
    assert (again.status_code, again.json()["id"]) == (201, made.json()["id"])
    other = await tenant.api.post("/v1/users", json={**body, "name": "Sarah"}, headers=KEY)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    taken = await tenant.api.post("/v1/users", json={"mobile": mobile})
    assert (taken.status_code, taken.json()["code"]) == (409, "mobile_taken")

    unconditional = await tenant.api.patch(path, json={"name": "Sara A."})
    assert unconditional.status_code == 428
    changed = await tenant.api.patch(path, json={"name": "Sara A."}, headers={"if-match": '"1"'})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    late = await tenant.api.patch(path, json={"name": "Late"}, headers={"if-match": '"1"'})
    assert late.status_code == 412
    newest = {"min_position": changed.headers["log-position"]}
    shown = await tenant.api.get(path, params=newest)
    assert (shown.headers["etag"], shown.json()) == ('"2"', changed.json())
    before = await tenant.api.get(path, params={"as_of": made.headers["log-position"]})
    assert before.json()["version"] == 1
    found = await tenant.api.get("/v1/users", params={"external_id": "crm|1"})
    assert [each["id"] for each in found.json()["items"]] == [made.json()["id"]]
    nobody = await tenant.api.get("/v1/users", params={"external_id": "crm|2"})
    assert nobody.json() == {"items": [], "next": None}

    deleted = await tenant.api.delete(path)
    assert (deleted.status_code, deleted.json()["status"]) == (202, "completed")
    gone = await tenant.api.patch(path, json={"name": "Sara"}, headers={"if-match": "*"})
    assert (gone.status_code, gone.json()["code"]) == (403, "user_erased")
    free = await tenant.api.post("/v1/users", json=body)
    assert (free.status_code, free.json()["id"] != made.json()["id"]) == (201, True)


async def test_whoever_is_suspended_does_not_transact_until_resumed(house: House) -> None:
    tenant = await house.tenant()
    till = await house.device(tenant)
    user_id = await house.person(till, house.mobile(), PALM + tenant.tenant_id.bytes)
    path = f"/v1/users/{user_id}"

    async def decision() -> str:
        asked = transaction(PALM + tenant.tenant_id.bytes)
        told = await till.http.post("/v1/device/transactions", json=asked)
        return str(told.json()["reason"] or told.json()["decision"])

    assert await decision() == "allow"
    suspended = await tenant.api.post(f"{path}/suspend", json={"reason": "fraud_suspected"})
    assert (suspended.status_code, suspended.json()["status"]) == (200, "suspended")
    assert await decision() == "user_suspended"
    resumed = await tenant.api.post(
        f"{path}/resume", headers={"if-match": suspended.headers["etag"]}
    )
    assert resumed.json()["status"] == "active"
    assert await decision() == "allow"
    kyc = await tenant.api.post(f"{path}/kyc", json={"status": "verified", "level": "basic"})
    assert (kyc.json()["kyc_status"], kyc.json()["kyc_level"]) == ("verified", "basic")
    names = await house.events(tenant)
    assert names.count("user.kyc_changed") == names.count("user.resumed") == 1


async def test_somebody_whom_the_backend_signed_up_is_known_at_the_device(house: House) -> None:
    tenant = await house.tenant()
    till, mobile = await house.device(tenant), house.mobile()
    made = await tenant.api.post("/v1/users", json={"mobile": mobile})
    assert await house.signed_up(till, mobile) == made.json()["id"]
