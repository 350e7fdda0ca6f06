"""A device that restarts, a device that never showed its allow, and one that never comes back."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from domain import transaction as x
from domain.events import Origin, StreamAppend
from domain.ids import DeviceId, TenantId, parse, transaction_id
from tests import builders
from tests.house.world import House, PairedDevice, transaction
from tests.spec import CORRELATION

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALI = b"the palm of ali"
MOBILE = "+966501234567"


async def _paid(house: House, key: str) -> tuple[PairedDevice, dict[str, Any]]:
    tenant = await house.tenant()
    till = await house.device(tenant)
    await house.person(till, MOBILE, ALI)
    answered = await till.http.post("/v1/device/transactions", json=transaction(ALI, key))
    assert answered.status_code == 200, answered.text
    return till, answered.json()


async def test_a_device_that_restarted_finds_its_answer(house: House) -> None:
    key = uuid4().hex
    till, told = await _paid(house, key)
    found = await till.http.get(f"/v1/device/transactions/{key}")
    assert (found.status_code, found.json()) == (200, told)
    other = await house.device(till.tenant)
    unknown = await other.http.get(f"/v1/device/transactions/{key}")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "transaction_not_found")


async def test_an_allow_that_was_not_shown_is_shown_to_be_owed_a_void(house: House) -> None:
    key = uuid4().hex
    till, told = await _paid(house, key)
    line = {"idempotency_key": key, "outcome": "not_received", "at": "2026-03-01T09:00:00+03:00"}
    taken = await till.http.post("/v1/device/journal", json={"entries": [line, line]})
    assert taken.json() == {
        "accepted": 2,
        "voided": [told["transaction_id"]],
        "undecided": [],
        "unknown": [],
    }
    assert "transaction.void_requested" in await house.events(till.tenant)
    shown = await till.tenant.api.get(
        f"/v1/transactions/{told['transaction_id']}", params={"min_position": await _end(house)}
    )
    assert (shown.json()["void_needed"], shown.json()["shown"]) == (True, "not_received")


async def test_what_nobody_finished_is_swept_by_what_the_read_model_knows(house: House) -> None:
    """The intent of a process that died stands in the log; its device never comes back."""
    key = uuid4().hex
    till, _ = await _paid(house, uuid4().hex)
    device_id = parse("dev", till.id)
    assert device_id is not None
    stream = transaction_id(DeviceId(device_id), key)
    now = house.platform.clock.now()
    intent = builders.transaction_authorization_requested(
        base_url=house.product_url, void_path=None, lease_until=now - timedelta(seconds=6)
    )
    await house.platform.log.append(
        Origin(actor="system:test", correlation_id=CORRELATION, command_id=uuid4()),
        [
            StreamAppend(
                tenant_id=TenantId(till.tenant.tenant_id),
                stream_id=stream,
                expected_version=0,
                events=[
                    builders.transaction_received(device_id=device_id, received_at=now),
                    builders.transaction_identified(),
                    intent,
                ],
            )
        ],
    )
    running = await till.http.get(f"/v1/device/transactions/{key}")
    assert (running.status_code, running.json()["state"]) == (202, "authorizing")
    end = await _end(house)
    assert await house.platform.runner.wait(end, "transactions", 30)
    assert await house.platform.duties.sweeper.sweep() == 1
    found = await till.http.get(f"/v1/device/transactions/{key}")
    assert (found.json()["decision"], found.json()["reason"]) == ("deny", "abandoned")
    state = x.rebuild(await house.platform.log.load(TenantId(till.tenant.tenant_id), stream))
    assert state is not None
    assert state.void in ("owed", "failed")


async def _end(house: House) -> int:
    async with house.platform.projector_pool.connection() as connection:
        row = await (await connection.execute("SELECT max(position) FROM events")).fetchone()
    assert row is not None
    return int(row[0])
