"""The device list: status, binding, certificate."""

from uuid import UUID

import pytest

from domain.ids import DeviceId
from projections import devices
from tests.builders import (
    DEVICE,
    NOW,
    device_paired,
    device_pairing_code_issued,
    device_registered,
    device_revoked,
)
from tests.projections.stage import OTHER_TENANT, Stage
from tests.spec import TENANT

GATE = DeviceId(UUID("0198c000-0000-7000-8000-0000000000b2"))
SCANNER = DeviceId(UUID("0198c000-0000-7000-8000-0000000000b3"))


async def one(stage: Stage) -> devices.DeviceRow:
    await stage.show(devices.READ_MODEL)
    async with stage.as_tenant() as connection:
        row = await devices.by_id(connection, TENANT, DEVICE)
    assert row is not None
    return row


async def test_a_registered_device_waits_for_pairing_with_its_binding(stage: Stage) -> None:
    await stage.record(DEVICE, device_registered())
    row = await one(stage)
    assert (row.status, row.type, row.name, row.serial) == (
        "pending_pairing",
        "pos",
        "Till 4",
        "SN-0004",
    )
    assert (row.bound_product, row.bound_action) == ("wallet", "pay")
    assert (row.version, row.position, row.last_position) == (1, 1, 1)
    assert (row.fingerprint, row.certificate_not_after, row.paired_at) == (None, None, None)


async def test_a_pairing_code_shows_until_when_it_works(stage: Stage) -> None:
    issued = device_pairing_code_issued()
    await stage.record(DEVICE, device_registered(), issued)
    row = await one(stage)
    assert (row.status, row.code_expires_at) == ("pending_pairing", issued.expires_at)


async def test_a_paired_device_shows_its_certificate(stage: Stage) -> None:
    paired = device_paired()
    await stage.record(DEVICE, device_registered(), device_pairing_code_issued(), paired)
    row = await one(stage)
    assert (row.status, row.fingerprint, row.certificate_serial, row.certificate_not_after) == (
        "active",
        paired.fingerprint,
        paired.certificate_serial,
        paired.not_after,
    )
    assert row.paired_at is not None
    assert row.code_expires_at is None
    assert row.version == 3


async def test_a_revoked_device_has_no_certificate_and_says_why(stage: Stage) -> None:
    await stage.record(DEVICE, device_registered(), device_paired(), device_revoked())
    row = await one(stage)
    assert (row.status, row.revoked_reason, row.fingerprint, row.certificate_not_after) == (
        "revoked",
        "lost",
        None,
        None,
    )
    assert row.revoked_at is not None


async def test_a_revoked_device_can_be_paired_again(stage: Stage) -> None:
    again = device_paired(fingerprint="f2" * 32, not_after=NOW)
    await stage.record(DEVICE, device_registered(), device_paired(), device_revoked())
    await stage.show(devices.READ_MODEL)
    await stage.record(DEVICE, device_pairing_code_issued(code_number=2), again)
    row = await one(stage)
    assert (row.status, row.fingerprint, row.version) == ("active", "f2" * 32, 5)


async def test_listing_pages_in_the_order_of_registration_and_filters(stage: Stage) -> None:
    await stage.record(DEVICE, device_registered())
    await stage.record(GATE, device_registered(type="gate", bound_product="door"))
    await stage.record(
        SCANNER, device_registered(type="personal_scanner", bound_product=None, bound_action=None)
    )
    await stage.record(DEVICE, device_paired())
    await stage.show(devices.READ_MODEL)
    async with stage.as_tenant() as connection:
        first = await devices.by_tenant(connection, TENANT, limit=2)
        assert [row.device_id for row in first.rows] == [DEVICE, GATE]
        rest = await devices.by_tenant(connection, TENANT, limit=2, after=first.next)
        assert ([row.device_id for row in rest.rows], rest.next) == ([SCANNER], None)
        active = await devices.by_tenant(connection, TENANT, status="active")
        assert [row.device_id for row in active.rows] == [DEVICE]
        gates = await devices.by_tenant(connection, TENANT, device_type="gate")
        assert [row.device_id for row in gates.rows] == [GATE]
        bound = await devices.by_tenant(connection, TENANT, bound_product="door")
        assert [row.device_id for row in bound.rows] == [GATE]


@pytest.mark.parametrize(("revoked", "expected"), [(False, 2), (True, 1)])
async def test_bound_devices_are_counted_without_the_revoked(
    stage: Stage, revoked: bool, expected: int
) -> None:
    await stage.record(DEVICE, device_registered())
    await stage.record(GATE, device_registered(type="gate"))
    await stage.record(SCANNER, device_registered(bound_product="door"))
    if revoked:
        await stage.record(GATE, device_revoked())
    await stage.record(
        DeviceId(UUID(int=DEVICE.int + 99)), device_registered(), tenant_id=OTHER_TENANT
    )
    await stage.show(devices.READ_MODEL)
    async with stage.as_tenant() as connection:
        assert await devices.bound_to(connection, TENANT, "wallet") == expected
        assert await devices.bound_to(connection, TENANT, "nothing") == 0
