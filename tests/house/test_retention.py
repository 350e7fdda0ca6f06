"""Each tenant's own days, from its settings over HTTP to what a device's repeat is told."""

from typing import Any

import psycopg
import pytest

from tests.house.world import House, PairedDevice, transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")

PALM = b"the palm of somebody who comes once"
SAID = {"display_message": "See you, Omar", "reference_id": "wal_7"}


async def test_a_repeat_is_told_that_its_text_is_gone_where_the_tenant_wanted_it_gone(
    house: House,
) -> None:
    """Two tenants, two texts two days old; one tenant wants its texts gone after a day.

    Seen to fail when the other tenant's days are used.
    """
    house.product.says |= SAID
    asked = transaction(PALM)
    first: dict[int, dict[str, Any]] = {}
    tills: dict[int, PairedDevice] = {}
    for days in (1, 3):
        tenant = await house.tenant()
        before = await tenant.api.get("/v1/tenant/settings")
        changed = await tenant.api.patch(
            "/v1/tenant/settings",
            json={"product_text_days": days},
            headers={"if-match": before.headers["etag"]},
        )
        assert changed.json()["product_text_days"] == days, changed.text
        tills[days] = till = await house.device(tenant)
        await house.person(till, house.mobile(), PALM)
        first[days] = (await till.http.post("/v1/device/transactions", json=asked)).json()
        assert first[days]["display_message"] == SAID["display_message"]
        with psycopg.connect(house.platform.dsn, autocommit=True) as admin:
            aged = admin.execute(
                "UPDATE product_texts SET kept_at = kept_at - interval '2 days'"
                " WHERE tenant_id = %s",
                (tenant.tenant_id,),
            )
            assert aged.rowcount == 1
    assert await house.platform.runner.wait(await house.end(), "tenants", 60)
    await house.platform.duties.retention.sweep()
    again = {
        days: (await till.http.post("/v1/device/transactions", json=asked)).json()
        for days, till in tills.items()
    }
    gone = {"display_message": "", "product_reference": None, "shredded": True}
    assert again == {1: first[1] | gone, 3: first[3]}
