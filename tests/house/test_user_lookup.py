"""`/v1/users/lookup`: whose a mobile is, over the wire."""

from typing import Any

import pytest

from tests.house.world import House

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATH = "/v1/users/lookup"


async def test_a_person_is_found_by_mobile_and_told_who_asked(house: House) -> None:
    tenant, other = await house.tenant(), await house.tenant("Other")
    mobile = house.mobile()
    user_id = await house.signed_up(await house.device(tenant), mobile)
    body: dict[str, Any] = {"mobile": mobile, "purpose": "support", "reference": "CASE-9"}
    found = await tenant.api.post(PATH, json=body)
    assert (found.status_code, found.json()) == (200, {"user_id": user_id})
    newest = {"min_position": str(await house.end())}
    listed = await tenant.api.get(f"/v1/users/{user_id}/accesses", params=newest)
    (access,) = listed.json()["items"]
    assert (access["operation"], access["fields"]) == ("lookUpUser", ["mobile"])
    unknown = await tenant.api.post(PATH, json={**body, "mobile": house.mobile()})
    elsewhere = await other.api.post(PATH, json=body)
    for nobody in (unknown, elsewhere):
        assert (nobody.status_code, nobody.json()["code"]) == (404, "user_not_found")
        assert mobile not in nobody.text


@pytest.mark.parametrize(
    "asked",
    [{}, {"mobile": "+966501234567", "email": "sara@example.com"}],
    ids=["neither", "both"],
)
async def test_exactly_one_value_is_asked_for(house: House, asked: dict[str, str]) -> None:
    tenant = await house.tenant()
    refused = await tenant.api.post(PATH, json={**asked, "purpose": "support"})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
