"""A backend compares palms: 1:1 with a person it names, 1:N with everybody of its tenant."""

from typing import Any
from uuid import uuid4

import pytest

from tests.house.test_enrollment import PALM, Place, place
from tests.house.world import House, scan

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def enrolled(at: Place) -> str:
    user_id = await at.known()
    assert (await at.enrolled(user_id)).status_code == 201
    return user_id


async def test_a_palm_is_verified_and_identified_and_the_answer_can_be_read_again(
    house: House,
) -> None:
    at = await place(house)
    user_id = await enrolled(at)
    api = at.tenant.api
    for path, body in (
        ("/v1/verifications", {"user_id": user_id, "scan": scan(PALM)}),
        ("/v1/identifications", {"scan": scan(PALM)}),
    ):
        answered = await api.post(path, json=body)
        assert answered.status_code == 201, answered.text
        told = answered.json()
        assert (told["status"], told["result"], told["user_id"]) == ("completed", "match", user_id)
        assert told["confidence"] == 0.95
        assert (await api.get(answered.headers["location"])).json() == told
    events = await at.events()
    assert events[-2:] == ["verification.completed", "identification.completed"]


async def test_a_stranger_is_told_apart_and_nothing_else_is_told(house: House) -> None:
    at = await place(house)
    user_id = await enrolled(at)
    house.vendor.scores = [0.95, 0.95, 0.95, 0.1]
    for path, body in (
        ("/v1/verifications", {"user_id": user_id, "scan": scan(PALM)}),
        ("/v1/identifications", {"scan": scan(PALM)}),
    ):
        told = (await at.tenant.api.post(path, json=body)).json()
        assert (told["result"], told["reason"]) == ("no_match", "low_confidence")
        assert told["confidence"] is None
        assert "0.1" not in str({**told, "id": "", "compared_at": ""})


async def test_a_lost_answer_is_asked_for_again_under_the_same_key(house: House) -> None:
    at = await place(house)
    body: dict[str, Any] = {"user_id": await enrolled(at), "scan": scan(PALM)}
    queries = house.vendor.queries
    key = {"idempotency-key": uuid4().hex}
    first = await at.tenant.api.post("/v1/verifications", json=body, headers=key)
    again = await at.tenant.api.post("/v1/verifications", json=body, headers=key)
    assert first.json() == again.json()
    assert house.vendor.queries == queries + 1


async def test_a_palm_of_another_tenant_is_nobody(house: House) -> None:
    theirs, ours = await place(house), await place(house)
    user_id = await enrolled(theirs)
    found = await ours.tenant.api.post("/v1/identifications", json={"scan": scan(PALM)})
    assert (found.json()["result"], found.json()["reason"]) == ("no_match", "no_candidate")
    asked = {"user_id": user_id, "scan": scan(PALM)}
    refused = await ours.tenant.api.post("/v1/verifications", json=asked)
    assert (refused.status_code, refused.json()["code"]) == (404, "user_not_found")
