"""A tenant is deleted by two people after a day, and of all that was held only the proofs stay."""

import asyncio
import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from application.principals import operator
from application.tenants.approvals import TERMS, Approvals
from domain.errors import Conflict
from domain.ids import PLATFORM, ApprovalId, TenantId, UserId, parse, wire
from tests.house.test_tenants import PATIENCE_S, platform_client
from tests.house.world import House

pytestmark = pytest.mark.asyncio(loop_scope="session")

HELD = (
    "tenant_keys",
    "personal_keys",
    "personal_data",
    "otp_challenges",
    "enrollment_grants",
    "client_secrets",
    "user_sessions",
    "console_users",
    "console_recovery_codes",
    "console_sessions",
)


STAYS = {
    "deleted_tenants": "that it is deleted, so that nothing is ever kept for it again",
    "deliveries": "ids of what was owed to others, until it is pruned",
    "delivery_attempts": "as deliveries",
    "delivery_destinations": "as deliveries",
    "delivery_waits": "as deliveries",
    "device_presence": "when a device was heard last",
    "erased_people": "ids for which no key is ever made again",
    "events": "the log; what it says of people is sealed under keys that are gone",
    "health_checks": "whether a product answered",
    "library_snapshots": "of the event-sourcing library, which keeps nothing there for us",
    "library_tracking": "as library_snapshots",
    "projection_halts": "positions",
    "shown_once": "digests, until they are swept",
}
"""Tables with a tenant's rows that a deletion leaves alone, and why."""

WITH_ROWS_OF_A_TENANT = """
    SELECT table_name FROM information_schema.columns JOIN information_schema.tables
    USING (table_schema, table_name)
    WHERE table_schema = 'public' AND column_name = 'tenant_id' AND table_type = 'BASE TABLE'
"""
GONE_WITH = """
    SELECT conrelid::regclass::text, confrelid::regclass::text
    FROM pg_constraint WHERE contype = 'f' AND confdeltype = 'c'
"""


async def test_no_table_is_forgotten(house: House) -> None:
    """Seen to fail with the line of `webhook_secrets` taken out of `destroy_tenant`."""
    with psycopg.connect(house.platform.dsn) as connection:
        tables = {name for (name,) in connection.execute(WITH_ROWS_OF_A_TENANT)}
        gone_with = connection.execute(GONE_WITH).fetchall()
        (source,) = connection.execute(
            "SELECT prosrc FROM pg_proc WHERE proname = 'destroy_tenant'"
        ).fetchall()[0]
    destroyed = set(re.findall(r"DELETE FROM (\w+)", source))
    while more := {below for below, above in gone_with if above in destroyed} - destroyed:
        destroyed |= more
    assert sorted(tables - destroyed) == sorted(STAYS)


def held(house: House, tenant_id: TenantId) -> dict[str, int]:
    found: dict[str, int] = {}
    with psycopg.connect(house.platform.dsn) as connection:
        for table in HELD:
            count = sql.SQL("SELECT count(*) FROM {} WHERE tenant_id = %s")
            row = connection.execute(count.format(sql.Identifier(table)), (tenant_id,)).fetchone()
            assert row is not None
            found[table] = row[0]
    return found


async def test_a_tenant_is_deleted_by_two_people_and_nothing_but_the_proofs_stays(
    house: House,
) -> None:
    tenant, other = await house.tenant(), await house.tenant()
    till = await house.device(tenant)
    user_id = await house.person(till, house.mobile(), b"palm of " + tenant.tenant_id.bytes)
    await house.signed_in(tenant)
    await house.signed_in(other)
    for each in (tenant, other):
        admin = await house.operator("tenant_admin", each.tenant_id)
        assert (await admin.post("/v1/console/recovery-codes")).status_code == 200
    before = held(house, other.tenant_id)
    assert all(held(house, tenant.tenant_id).values())
    path = f"/v1/tenants/{wire('ten', tenant.tenant_id)}"
    platform = await platform_client(house)
    running = await platform.delete(path, headers={"approval-id": await agreed(house, tenant)})
    assert (running.status_code, running.json()["code"]) == (409, "tenant_not_suspended")
    await platform.post(f"{path}/suspend", json={"reason": "requested"})
    alone = await platform.delete(path)
    assert (alone.status_code, alone.json()["code"]) == (403, "approval_required")
    approval = await agreed(house, tenant)
    early = await platform.delete(path, headers={"approval-id": approval})
    assert (early.status_code, early.json()["code"]) == (409, "approval_waiting")
    with psycopg.connect(house.platform.dsn) as connection, pytest.raises(psycopg.Error):
        connection.execute("SELECT destroy_tenant(%s)", (tenant.tenant_id,))

    house.clock.shift = TERMS["tenant.delete"].wait + timedelta(minutes=1)
    platform = await platform_client(house)
    begun = await platform.delete(path, headers={"approval-id": approval})
    assert (begun.status_code, begun.json()["status"]) == (202, "deleting")
    resumed = await platform.post(f"{path}/resume")
    assert (resumed.status_code, resumed.json()["code"]) == (409, "tenant_deleted")
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if (await platform.get(path)).json()["status"] == "deleted":
                break
            await asyncio.sleep(0.1)
    assert held(house, tenant.tenant_id) == dict.fromkeys(HELD, 0)
    assert held(house, other.tenant_id) == before
    assert house.vendor.enrolled == {}
    with pytest.raises(Conflict, match="tenant_deleted"):
        await house.operator("tenant_admin", tenant.tenant_id)
    found = parse("usr", user_id)
    assert found is not None
    with pytest.raises(Conflict, match="tenant_deleted"):
        await house.platform.services.tenant_lifecycle.resume(
            operator(PLATFORM, uuid4()), tenant.tenant_id, None
        )
    erasure = await house.platform.services.erasures.get(tenant.tenant_id, UserId(found))
    assert erasure.erasure.status == "completed"
    proof = await house.platform.services.event_proofs.of_event(
        tenant.tenant_id, f"{wire('ten', tenant.tenant_id)}:1"
    )
    assert proof.startswith("c2sp.org/tlog-proof@v1")


async def agreed(house: House, tenant: Any) -> str:
    """An approval that one asked for and another gave."""
    platform = house.platform
    approvals = Approvals(platform.streams, platform.clock, platform.ids)
    one = operator(PLATFORM, uuid4())
    asked = await approvals.ask(one, "tenant.delete", tenant.tenant_id)
    another = type(one)(
        tenant_id=PLATFORM, actor="operator:another", correlation_id=one.correlation_id
    )
    await approvals.give(another, ApprovalId(asked.id))
    return wire("apr", asked.id)
