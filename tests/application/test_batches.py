"""Slots for many devices: all or none, once, and what waits can be taken back."""

from collections.abc import Sequence

import pytest

from application.fleet.batches import Batches, Slot
from domain import device as d
from domain.errors import Invalid, NotFound
from domain.ids import DeviceId, TenantId
from tests.application.world import BACKEND, World
from tests.spec import TENANT

KIND = d.DeviceRegistered(type="kiosk", name="spring", batch="spring")
SLOTS = [Slot(name=f"Kiosk {number}", serial=f"SN-{number}") for number in range(3)]
KEY = "roll-out-of-spring-01"


class Stand:
    """Batches over the world's log; `members` is what a read model would know of the one batch."""

    def __init__(self) -> None:
        self.world = World()
        self.members: list[DeviceId] = []
        self.batches = Batches(self.world.log, self.world.devices(), self, self.world.ids)

    async def slots(self, tenant_id: TenantId, batch: str) -> Sequence[DeviceId] | None:
        """`Waiting`."""
        return self.members if (tenant_id, batch) == (TENANT, "spring") else None

    async def add(self, slots: Sequence[Slot] = SLOTS, key: str | None = KEY) -> list[DeviceId]:
        made = await self.batches.add(BACKEND, KIND, slots, key)
        self.members = list(made.devices)
        return self.members


async def test_every_slot_is_a_device_that_waits() -> None:
    stand = Stand()
    found = [await stand.world.devices().get(TENANT, each) for each in await stand.add()]
    assert [(each.registered.name, each.registered.serial) for each in found] == [
        ("Kiosk 0", "SN-0"),
        ("Kiosk 1", "SN-1"),
        ("Kiosk 2", "SN-2"),
    ]
    assert {(each.status, each.registered.batch) for each in found} == {
        ("pending_pairing", "spring")
    }


async def test_a_repeat_makes_none_and_another_request_needs_another_key() -> None:
    stand = Stand()
    made = await stand.add()
    assert await stand.add() == made
    for others in (SLOTS[:2], [*SLOTS, Slot(name="Kiosk 3")], [Slot(name="Other"), *SLOTS[1:]]):
        with pytest.raises(Invalid, match="idempotency_key_reused"):
            await stand.add(others)
    assert set(await stand.add(key=None)).isdisjoint(made)


async def test_all_of_them_or_none() -> None:
    stand = Stand()
    with pytest.raises(Invalid, match="serial_twice"):
        await stand.add([*SLOTS, Slot(name="Kiosk 3", serial="SN-0")])
    before = len(stand.world.log.read_now())
    with pytest.raises(Invalid, match="device_name_invalid"):
        await stand.add([*SLOTS, Slot(name="\x07")])
    assert len(stand.world.log.read_now()) == before


async def test_what_waits_is_taken_back_and_what_was_paired_stays() -> None:
    stand = Stand()
    made = await stand.add()
    code, _ = await stand.world.devices().issue_pairing_code(BACKEND, made[1], None)
    await stand.world.pairings().pair(
        code.code, "key K1", {}, address="192.0.2.1", correlation_id=BACKEND.correlation_id
    )
    assert await stand.batches.revoke(BACKEND, "spring", "replaced") == 2
    statuses = [(await stand.world.devices().get(TENANT, each)).status for each in made]
    assert statuses == ["revoked", "active", "revoked"]
    assert await stand.batches.revoke(BACKEND, "spring", "replaced") == 0
    with pytest.raises(NotFound, match="device_batch_not_found"):
        await stand.batches.revoke(BACKEND, "autumn", "replaced")
