"""An integrator takes a palm away: refused at once, and destroyed at the vendor by a worker."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.house.test_enrollment import Place, place
from tests.house.world import House, transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")

PALM = b"the palm of sara, to be forgotten"
PATIENCE_S = 60


async def enrolled(at: Place) -> tuple[str, str]:
    """A person with a palm: (where the palm is found, its reference)."""
    user_id = await at.known()
    answered = await at.enrolled(user_id, PALM)
    assert answered.status_code == 201, answered.text
    palm_ref = str(answered.json()["palm_ref"])
    return f"/v1/users/{user_id}/palms/{palm_ref}", palm_ref


async def until(at: Place, path: str, **wanted: Any) -> dict[str, Any]:
    """The palm, once it shows what is wanted."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            shown = (await at.tenant.api.get(path)).json()
            if all(shown[name] == value for name, value in wanted.items()):
                return dict(shown)
            await asyncio.sleep(0.02)


async def decision(at: Place) -> str:
    answered = await at.kiosk.http.post("/v1/device/transactions", json=transaction(PALM))
    assert answered.status_code == 200, answered.text
    return str(answered.json()["decision"])


async def test_a_palm_is_refused_at_once_and_destroyed_soon(house: House) -> None:
    at = await place(house)
    path, palm_ref = await enrolled(at)
    assert await decision(at) == "allow"
    removed = await at.tenant.api.delete(path)
    assert (removed.status_code, removed.json()["status"]) == (202, "removing")
    assert int(removed.headers["log-position"]) > 0
    assert await decision(at) == "not_recognized"
    gone = await until(at, path, status="removed")
    assert (gone["vendor_answer"], gone["removal_delayed_by"]) == ("deleted", None)
    assert not [name for name in house.vendor.enrolled if name.endswith(palm_ref[4:])]
    again = await at.tenant.api.delete(path)
    assert (again.status_code, again.json()) == (202, gone)
    listed = await at.tenant.api.get(path.rpartition("/")[0])
    assert listed.json() == {"items": []}
    events = await at.events()
    assert events.count("user.palm_removed") == events.count("user.palm_removal_started") == 1


async def test_a_vendor_that_cannot_delete_leaves_it_visibly_pending(house: House) -> None:
    at = await place(house)
    path, palm_ref = await enrolled(at)
    house.vendor.deletes = False
    await at.tenant.api.delete(path)
    pending = await until(at, path, removal_delayed_by="not_supported")
    assert (pending["status"], pending["removed_at"]) == ("removing", None)
    assert await decision(at) == "not_recognized"
    newest = {"min_position": await at.house.end()}
    shown: httpx.Response = await at.tenant.api.get(f"/v1/enrollments/{palm_ref}", params=newest)
    assert shown.status_code == 200


async def test_a_palm_is_taken_from_its_own_person_only(house: House) -> None:
    at = await place(house)
    path, _ = await enrolled(at)
    other = path.replace(path.split("/")[3], f"usr_{'0' * 32}")
    for answered in (await at.tenant.api.delete(other), await at.tenant.api.get(other)):
        assert (answered.status_code, answered.json()["code"]) == (404, "palm_not_found")
    assert (await at.tenant.api.get(path)).json()["status"] == "enrolled"
