"""What the platform recorded and showed, taken away as files and judged without it."""

import json
from pathlib import Path
from typing import Any

import pytest

from domain.catalogue import EVENTS, UPCASTERS
from domain.ids import TenantId, wire
from domain.transparency.note import VerifierKey, read_vkey
from infrastructure.event_log.mapper import EventMapper
from infrastructure.log_export.directory import CHECKPOINTS, ExportDirectory
from infrastructure.log_export.export import AnotherLog, Exported, NothingSigned, export
from infrastructure.log_export.proving import prove
from infrastructure.log_export.replaying import Replayed, replay
from infrastructure.log_export.shown_rows import write_rows
from infrastructure.log_export.verification import Trust, verify
from projections.catalogue import READ_MODELS
from tests.house.world import House, PairedDevice, Tenancy, transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")

PALM = b"the palm of somebody who is audited"


async def busy(house: House) -> tuple[Tenancy, PairedDevice]:
    """A tenant to whom things have happened, all of which every read model has taken in."""
    tenant = await house.tenant("Audited")
    device = await house.device(tenant)
    kiosk = await house.device(tenant, "kiosk")
    await house.person(kiosk, house.mobile(), PALM)
    allowed = await device.http.post("/v1/device/transactions", json=transaction(PALM))
    assert allowed.json()["decision"] == "allow", allowed.text
    await caught_up(house, tenant.tenant_id)
    return tenant, device


async def caught_up(house: House, tenant_id: TenantId) -> None:
    end = await house.end()
    for model in READ_MODELS:
        while not await house.platform.services.read_models.wait(tenant_id, model.name, end):
            continue


async def key_of(house: House, tenant: Tenancy) -> VerifierKey:
    """As anybody gets it."""
    anybody = await house.client(house.public_url)
    got = await anybody.get(
        "/.well-known/transparency-log.json",
        params={"tenant_id": wire("ten", tenant.tenant_id)},
    )
    return read_vkey(got.json()["log"]["vkey"])


async def exported(house: House, tenant: Tenancy, root: Path, **options: Any) -> Exported:
    async def rows(directory: ExportDirectory) -> int:
        return await write_rows(house.platform.dsn, directory, READ_MODELS, tenant.tenant_id)

    return await export(
        house.platform.transparency.logs, tenant.tenant_id, root, rows=rows, **options
    )


async def replayed(house: House, root: Path, size: int) -> Replayed:
    return await replay(
        ExportDirectory(root),
        size,
        house.platform.dsn,
        READ_MODELS,
        EventMapper(EVENTS, UPCASTERS),
    )


async def test_an_export_is_verified_replayed_and_proved_from(house: House, tmp_path: Path) -> None:
    tenant, device = await busy(house)
    for model in READ_MODELS:
        await house.platform.digests.state(model, tenant.tenant_id, compared=True)
    await caught_up(house, tenant.tenant_id)
    done = await exported(house, tenant, tmp_path)
    trust = Trust(log_key=await key_of(house, tenant))
    verdict = verify(tmp_path, trust)
    assert verdict.ok, verdict
    assert verdict.size == done.size
    found = await replayed(house, tmp_path, done.size)
    assert found.ok, found.mismatches
    assert found.compared > len(READ_MODELS)

    listed = (await tenant.api.get("/v1/audit", params={"limit": 200})).json()["items"]
    position = next(
        each["position"] for each in listed if each["action"] == "device_transaction_relayed"
    )
    proved = prove(ExportDirectory(tmp_path), trust, str(position))
    online = await tenant.api.get("/v1/audit/log/proof", params={"event_id": str(position)})
    assert proved.event.name == "transaction.relayed"
    assert online.status_code == 200
    assert online.text.split("\n")[1] == proved.proof.split("\n")[1] == f"index {proved.index}"
    schemas = json.loads((tmp_path / "events.json").read_text())
    assert schemas["events"][proved.event.name]["version"] == 1
    assert device.tenant is tenant


async def test_exporting_again_adds_what_is_new_and_keeps_the_earlier_checkpoint(
    house: House, tmp_path: Path
) -> None:
    tenant, device = await busy(house)
    first = await exported(house, tenant, tmp_path)
    for _ in range(2):
        await device.http.post("/v1/device/transactions", json=transaction(PALM))
    await caught_up(house, tenant.tenant_id)
    second = await exported(house, tenant, tmp_path)
    assert second.size > first.size
    assert [*ExportDirectory(tmp_path).below(CHECKPOINTS)] == [f"{CHECKPOINTS}/{first.size}"]
    trust = Trust(log_key=await key_of(house, tenant))
    assert verify(tmp_path, trust).ok
    (tmp_path / CHECKPOINTS / str(first.size)).write_bytes((tmp_path / "checkpoint").read_bytes())
    assert verify(tmp_path, trust).ok
    other = await house.tenant("Another")
    with pytest.raises(AnotherLog):
        await exported(house, other, tmp_path)
    assert verify(tmp_path, trust).ok


async def test_a_row_that_somebody_changed_by_sql_is_named_by_the_replay(
    house: House, tmp_path: Path
) -> None:
    tenant, device = await busy(house)
    async with house.platform.projector_pool.connection() as connection:
        changed = await connection.execute(
            "UPDATE read_models.devices SET status = 'revoked' WHERE tenant_id = %s AND type = %s",
            (tenant.tenant_id, "pos"),
        )
        assert changed.rowcount == 1
    done = await exported(house, tenant, tmp_path)
    assert verify(tmp_path, Trust(log_key=await key_of(house, tenant))).ok, "the log is untouched"
    (mismatch,) = (await replayed(house, tmp_path, done.size)).mismatches
    assert mismatch.differing is not None
    assert mismatch.table == "devices"
    assert mismatch.differing.difference == "altered"
    assert mismatch.differing.row_position is not None
    named = json.loads(mismatch.differing.key)["device_id"]
    assert named.replace("-", "") == device.id.removeprefix("dev_")


async def test_who_waits_for_a_signature_that_does_not_come_is_told(
    house: House, tmp_path: Path
) -> None:
    async def never_signed(_: ExportDirectory) -> int:
        return 10**12

    tenant = await house.tenant("Unsigned")
    with pytest.raises(NothingSigned, match="is a worker running"):
        await export(
            house.platform.transparency.logs,
            tenant.tenant_id,
            tmp_path,
            rows=never_signed,
            patience_s=0.5,
        )
    assert not (tmp_path / "checkpoint").exists()
