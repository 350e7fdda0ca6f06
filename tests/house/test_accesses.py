"""`/v1/users/{id}/accesses`: a person's own list of who looked, over the wire."""

from typing import cast

import pytest

from application.principals import Caller
from domain.ids import UserId, parse
from tests.house.world import House

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_list_tells_each_access_once_it_is_noted(house: House) -> None:
    tenant = await house.tenant()
    till = await house.device(tenant)
    wire_id = await house.person(till, house.mobile(), b"somebody who asks")
    user_id = cast("UserId", parse("usr", wire_id))
    path = f"/v1/users/{wire_id}/accesses"
    newest = {"min_position": str(await house.end())}
    assert (await tenant.api.get(path, params=newest)).json() == {"items": [], "next": None}
    support = Caller(
        tenant_id=tenant.tenant_id,
        actor="operator:ada",
        correlation_id=house.platform.ids.uuid(),
    )
    for case in ("CASE-1", "CASE-2"):
        position = await house.platform.services.accesses.note(
            support,
            user_id,
            fields=["mobile"],
            purpose="support",
            operation="exportPersonalData",
            reference=case,
        )
    newest = {"min_position": str(position), "limit": "1"}
    page = (await tenant.api.get(path, params=newest)).json()
    (line,) = page["items"]
    assert (line["actor"], line["purpose"], line["fields"]) == (
        "operator:ada",
        "support",
        ["mobile"],
    )
    assert (line["reference"], line["position"]) == ("CASE-2", position)
    rest = (await tenant.api.get(path, params={"cursor": page["next"]})).json()
    assert [each["reference"] for each in rest["items"]] == ["CASE-1"]
    assert rest["next"] is None
