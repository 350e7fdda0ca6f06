"""A batch of devices over the wire: made at once, each paired once, exported, taken back."""

import asyncio
import csv
import io

import pytest

from tests.house.world import House, key_and_csr

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_roll_out(house: House) -> None:
    tenant, other = await house.tenant(), await house.tenant()
    house.limiter.unlimited.add("pairing.address")
    slots = [
        {"name": "Kiosk 1", "serial": "SN-1"},
        {"name": "=cmd()", "serial": "SN-2"},
        {"name": "Kiosk 3"},
    ]
    body = {"batch": "spring-rollout", "type": "kiosk", "slots": slots}
    made = await tenant.api.post("/v1/device-batches", json=body)
    assert made.status_code == 201, made.text
    first, second, third = made.json()["devices"]

    # Eight who have read the same code, with a key each: one of them becomes the device.
    code = (await tenant.api.post(f"/v1/devices/{first}/pairing-code")).json()["code"]
    public = await house.client(house.public_url)
    answers = await asyncio.gather(
        *(
            public.post("/v1/device/pair", json={"code": code, "csr": key_and_csr()[1]})
            for _ in range(8)
        )
    )
    assert sorted(each.status_code for each in answers)[0] == 201
    assert [each.status_code for each in answers].count(201) == 1
    assert {each.json()["device_id"] for each in answers if each.status_code == 201} == {first}

    path = "/v1/device-batches/spring-rollout"
    for unknown in (
        await other.api.get(path),
        await other.api.post(f"{path}/revoke"),
        await tenant.api.get("/v1/device-batches/autumn"),
        await tenant.api.get("/v1/device-batches/%00"),
    ):
        assert (unknown.status_code, unknown.json()["code"]) == (404, "device_batch_not_found")
    revoked = await tenant.api.post(f"{path}/revoke", params={"reason": "replaced"})
    assert revoked.json() == {"batch": "spring-rollout", "revoked": 2}
    exported = await tenant.api.get(path, params={"min_position": await house.end()})
    rows = list(csv.DictReader(io.StringIO(exported.text)))
    assert [(row["id"], row["name"], row["serial"], row["status"]) for row in rows] == [
        (first, "Kiosk 1", "SN-1", "active"),
        (second, "'=cmd()", "SN-2", "revoked"),
        (third, "Kiosk 3", "", "revoked"),
    ]
    late = await tenant.api.post(f"/v1/devices/{second}/pairing-code")
    assert late.status_code == 201  # one by one they may still be wanted
