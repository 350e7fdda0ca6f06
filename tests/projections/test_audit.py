"""The audit lines: one per fact, for tenants that want them."""

from typing import Any
from uuid import UUID

import pytest

from domain.tenant import TenantSettings
from projections import audit
from tests.builders import (
    DEVICE,
    claim_taken,
    device_paired,
    device_registered,
    linked_service_registered,
    tenant_created,
    tenant_settings_changed,
    transaction_identified,
    transaction_received,
    transaction_vendor_failed,
)
from tests.projections.stage import OTHER_TENANT, Stage
from tests.spec import CORRELATION, TENANT

CLAIM = UUID("0198c000-0000-7000-8000-000000000091")
TRANSACTION = UUID("0198c000-0000-7000-8000-000000000071")
OTHER_REQUEST = UUID("0198c000-0000-7000-8000-000000000004")


async def lines(stage: Stage, **filters: Any) -> list[audit.AuditRow]:
    async with stage.as_tenant() as connection:
        return list((await audit.by_tenant(connection, TENANT, **filters)).rows)


async def test_a_line_says_who_did_what_to_what_in_which_request(stage: Stage) -> None:
    await stage.record(DEVICE, device_registered(), actor="client:cli_1")
    await stage.show(audit.READ_MODEL)
    (line,) = await lines(stage)
    assert (line.position, line.action, line.severity) == (1, "device_registered", "info")
    assert (line.actor, line.subject_kind, line.subject_id) == ("client:cli_1", "device", DEVICE)
    assert (line.correlation_id, line.event) == (CORRELATION, "device.registered")
    assert line.facts["bound_product"] == "wallet"


async def test_bulky_and_biometric_facts_are_left_out(stage: Stage) -> None:
    await stage.record(DEVICE, device_registered(), device_paired())
    await stage.record(TRANSACTION, transaction_received(), transaction_identified())
    await stage.record(TENANT, tenant_created())
    await stage.show(audit.READ_MODEL)
    shown = await lines(stage)
    assert len(shown) == 5
    for line in shown:
        assert not audit.LEFT_OUT & set(line.facts), line.event
    paired = next(line for line in shown if line.event == "device.paired")
    assert paired.facts["fingerprint"] == "f1" * 32


async def test_claims_are_bookkeeping_and_not_shown(stage: Stage) -> None:
    await stage.record(CLAIM, claim_taken())
    await stage.show(audit.READ_MODEL)
    assert await lines(stage) == []


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "batch by batch"])
async def test_a_tenant_that_turned_lines_off_sees_none_until_it_turns_them_on(
    stage: Stage, together: bool
) -> None:
    async def moment() -> None:
        if not together:
            await stage.show(audit.READ_MODEL)

    off = tenant_settings_changed(settings=TenantSettings(audit_enabled=False))
    on = tenant_settings_changed(settings=TenantSettings(audit_enabled=True))
    await stage.record(TENANT, tenant_created())
    await moment()
    await stage.record(TENANT, off)
    await moment()
    await stage.record(DEVICE, device_registered())
    await stage.record(TENANT, off)
    await moment()
    await stage.record(TENANT, on)
    await moment()
    await stage.record(DEVICE, device_paired())
    await stage.show(audit.READ_MODEL)
    assert [line.position for line in await lines(stage)] == [6, 5, 2, 1]


async def test_one_tenants_setting_is_not_anothers(stage: Stage) -> None:
    await stage.record(
        OTHER_TENANT,
        tenant_created(settings=TenantSettings(audit_enabled=False)),
        tenant_id=OTHER_TENANT,
    )
    await stage.record(DEVICE, device_registered())
    await stage.show(audit.READ_MODEL)
    assert [line.action for line in await lines(stage)] == ["device_registered"]
    assert len((await stage.rows(audit.READ_MODEL))["audit"]) == 1


async def test_lines_are_newest_first_and_found_by_every_filter(stage: Stage) -> None:
    await stage.record(DEVICE, device_registered(), actor="client:cli_1")
    await stage.record(
        UUID(int=7), linked_service_registered(), actor="operator:1", correlation_id=OTHER_REQUEST
    )
    await stage.record(TRANSACTION, transaction_received(), transaction_vendor_failed())
    await stage.show(audit.READ_MODEL)

    async def found(**filters: Any) -> list[int]:
        return [line.position for line in await lines(stage, **filters)]

    assert await found() == [4, 3, 2, 1]
    assert await found(limit=2) == [4, 3]
    assert await found(after=3) == [2, 1]
    assert await found(action="linked_service_created") == [2]
    assert await found(severity="critical") == [4]
    assert await found(actor="client:cli_1") == [1]
    assert await found(subject_id=TRANSACTION) == [4, 3]
    assert await found(correlation_id=OTHER_REQUEST) == [2]
    async with stage.as_tenant() as connection:
        line = await audit.by_id(connection, TENANT, 2)
    assert line is not None
    assert await found(since=line.recorded_at) == [4, 3, 2]
    assert 4 not in await found(until=line.recorded_at)


async def test_a_strangers_nul_does_not_stop_the_lines(stage: Stage) -> None:
    await stage.record(
        TRANSACTION,
        transaction_received(),
        transaction_vendor_failed(vendor_message="a\x00b and \\u0000 as written"),
    )
    await stage.show(audit.READ_MODEL)
    assert (await lines(stage))[0].facts["vendor_message"] == "a\ufffdb and \\u0000 as written"
