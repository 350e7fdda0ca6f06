"""Heartbeats, commands and locks, over the wire and in two processes."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from application.ports.fleet import Presences
from domain.ids import DeviceId
from domain.presence import Beat, presence_id
from infrastructure.webhooks.message import body
from tests.house.world import House, PairedDevice, Product, Vendor, opened, transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")

PALM = b"the palm of somebody at a locked till"
PATIENCE_S = 30.0
IN_FORCE_S = 20.0
"""The promise is one second; a machine on which a process stalls says nothing about it."""


def heartbeat(seq: int, **fields: Any) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {"seq": seq, "boot_id": "boot-0001", "device_time": now, **fields}


async def beaten(device: PairedDevice, seq: int, **fields: Any) -> dict[str, Any]:
    answered = await device.http.post("/v1/device/heartbeat", json=heartbeat(seq, **fields))
    assert answered.status_code == 200, answered.text
    told: dict[str, Any] = answered.json()
    return told


async def queued(device: PairedDevice, house: House, **command: Any) -> dict[str, Any]:
    """A command that the read model knows of."""
    path = f"/v1/devices/{device.id}/commands"
    answered = await device.tenant.api.post(path, json=command)
    assert answered.status_code == 201, answered.text
    position = answered.headers["log-position"]
    listed = await device.tenant.api.get(path, params={"min_position": position})
    assert listed.status_code == 200, listed.text
    told: dict[str, Any] = answered.json()
    return told


async def listed(device: PairedDevice) -> list[dict[str, Any]]:
    """The device's own line, once the read model has it."""
    items = (await device.tenant.api.get("/v1/devices")).json()["items"]
    return [each for each in items if each["id"] == device.id]


async def presence(device: PairedDevice) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        while not (rows := await listed(device)):
            continue
    (row,) = rows
    shown = (await device.tenant.api.get(f"/v1/devices/{device.id}")).json()
    assert row["presence"]["last_heard_at"] == shown["presence"]["last_heard_at"]
    found: dict[str, Any] = shown["presence"]
    return found


async def test_presence_goes_with_the_heartbeats(house: House) -> None:
    device = await house.device(await house.tenant(), "personal_scanner")
    assert (await presence(device))["status"] == "never"
    await house.platform.duties.watching.fleet.round()
    told = await beaten(device, 1, fw_version="3.2.1", battery=93)
    assert (told["counted"], told["next_heartbeat_s"], told["commands"]) == (True, 60, [])
    seen = await presence(device)
    assert seen["status"] == "online"
    assert seen["reported"] == {"fw_version": "3.2.1", "battery": "93"}
    house.clock.shift = timedelta(seconds=150)
    assert (await presence(device))["status"] == "late"
    house.clock.shift = timedelta(seconds=600)
    assert (await presence(device))["status"] == "offline"
    await house.platform.duties.watching.fleet.round()
    house.clock.shift = timedelta(seconds=0)
    assert (await beaten(device, 1))["counted"] is False
    assert (await beaten(device, 5))["missed"] == 3
    await house.platform.duties.watching.fleet.round()
    stream = presence_id(UUID(hex=device.id.partition("_")[2]))
    past = await house.platform.log.load(device.tenant.tenant_id, stream)
    told_by_webhook = [msgspec.json.decode(body(past, each.version)) for each in past]
    assert [each["type"] for each in told_by_webhook] == ["device.offline", "device.online"]
    assert {each["data"]["id"] for each in told_by_webhook} == {device.id}


async def test_of_the_same_number_at_the_same_time_one_counts(house: House) -> None:
    device = await house.device(await house.tenant())
    presences: Presences = house.platform.services.presences
    device_id = DeviceId(UUID(hex=device.id.partition("_")[2]))
    for seq in (1, 2):
        now = datetime.now(UTC)
        beat = Beat(
            fingerprint="ab" * 32,
            boot_id="boot-0001",
            seq=seq,
            device_time=now,
            received_at=now,
            interval_s=60,
        )
        heard = await asyncio.gather(
            *(presences.hear(device.tenant.tenant_id, device_id, beat, {}) for _ in range(8))
        )
        assert sum(each is not None for each in heard) == 1


async def test_a_command_is_delivered_until_it_is_answered(house: House) -> None:
    device = await house.device(await house.tenant())
    command = await queued(device, house, kind="show_message", message="ask_staff")
    for seq in (1, 2):
        (due,) = (await beaten(device, seq))["commands"]
        assert (due["id"], due["kind"], due["message"]) == (
            command["id"],
            "show_message",
            "ask_staff",
        )
    strange = f"cmd_{uuid4().hex}"
    results = [
        {"id": command["id"], "status": "failed", "detail": "screen_off"},
        {"id": strange, "status": "done"},
    ]
    told = await beaten(device, 3, command_results=results)
    assert (told["commands"], told["unknown_results"]) == ([], [strange])
    path = f"/v1/devices/{device.id}/commands"
    end = {"min_position": await house.end()}
    (listed,) = (await device.tenant.api.get(path, params=end)).json()["items"]
    assert (listed["status"], listed["detail"]) == ("failed", "screen_off")
    assert listed["delivered_at"] is not None
    none = await device.tenant.api.get(path, params={"status": "queued"})
    assert none.json()["items"] == []


async def test_a_lock_is_in_force_in_every_process_at_once(database: str, tmp_path: Path) -> None:
    both: dict[str, Any] = {"vendor": Vendor(), "product": Product()}
    async with (
        opened(database, tmp_path, **both) as here,
        opened(database, tmp_path, **both) as there,
    ):
        device = await here.device(await here.tenant())
        await here.person(device, here.mobile(), PALM)
        other = await there.client(there.device_url, verify=device.trust)
        path = "/v1/device/transactions"
        first = transaction(PALM)
        assert (await other.post(path, json=first)).json()["decision"] == "allow"
        await queued(device, here, kind="lock")
        refused = await device.http.post(path, json=transaction(PALM))
        assert (refused.status_code, refused.json()["code"]) == (403, "device_locked")
        async with asyncio.timeout(IN_FORCE_S):
            while (await other.post(path, json=transaction(PALM))).status_code != 403:
                continue
        shown = (await device.tenant.api.get(f"/v1/devices/{device.id}")).json()
        assert shown["locked"] is True
        told = await other.post("/v1/device/heartbeat", json=heartbeat(1))
        assert told.json()["locked"] is True
        entries = [{"idempotency_key": first["idempotency_key"], "outcome": "shown_allow"}]
        entries[0]["at"] = datetime.now(UTC).isoformat()
        journaled = await other.post("/v1/device/journal", json={"entries": entries})
        assert journaled.json()["accepted"] == 1
        await queued(device, here, kind="unlock")
        async with asyncio.timeout(IN_FORCE_S):
            while (await other.post(path, json=transaction(PALM))).status_code == 403:
                continue


async def test_a_device_that_is_not_paired_takes_no_commands(house: House) -> None:
    tenant = await house.tenant()
    device = await house.device(tenant)
    assert (await tenant.api.delete(f"/v1/devices/{device.id}")).status_code == 204
    path = f"/v1/devices/{device.id}/commands"
    refused = await tenant.api.post(path, json={"kind": "lock"})
    assert (refused.status_code, refused.json()["code"]) == (409, "device_not_active")


async def test_a_message_without_its_command_is_refused(house: House) -> None:
    device = await house.device(await house.tenant())
    path = f"/v1/devices/{device.id}/commands"
    refused = await device.tenant.api.post(path, json={"kind": "lock", "message": "welcome"})
    assert (refused.status_code, refused.json()["code"]) == (422, "message_invalid")
    assert (await device.tenant.api.get(f"/v1/devices/{device.id}")).json()["locked"] is False
