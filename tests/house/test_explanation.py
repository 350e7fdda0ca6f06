"""One transaction from end to end, over HTTP: cut to what the caller may see, and never a token."""

from typing import Any

import jwt
import pytest

from application.permissions import SCOPES
from tests.house.world import House, PairedDevice, transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")

PALM = b"the palm of somebody who is explained"


async def _till(house: House) -> PairedDevice:
    till = await house.device(await house.tenant())
    await house.person(till, house.mobile(), PALM)
    return till


async def _explained(till: PairedDevice, transaction_id: str, token: str = "") -> dict[str, Any]:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    path = f"/v1/transactions/{transaction_id}/explanation"
    answered = await till.tenant.api.get(path, headers=headers)
    assert answered.status_code == 200, answered.text
    return dict(answered.json())


async def test_an_allowed_transaction_is_explained_to_each_as_they_may_see(house: House) -> None:
    till = await _till(house)
    told = (await till.http.post("/v1/device/transactions", json=transaction(PALM))).json()
    full = await _explained(till, told["transaction_id"])
    assert full["transaction"]["decision"] == "allow"
    assert full["sentence"]["en"] == "The palm matched and the product allowed it."
    names = [step["name"] for step in full["waterfall"]]
    assert names[0] == "received"
    assert {"identify", "intent_committed", "authorize", "decided"} <= set(names)
    assert full["own_ms"] >= 0
    scores = full["match"]["scores"]
    assert next(each["name"] for each in scores) == "device_print"
    assert [(each["score"], each["threshold"]) for each in scores] == [(0.95, 0.7)] * 4
    what = {each["what"] for each in full["determined_by"]}
    assert {"device_binding", "match_policy", "consent", "linked_service"} <= what

    sent = house.product.headers[-1]["authorization"].removeprefix("Bearer ")
    signed = jwt.decode(sent, options={"verify_signature": False})
    shown = full["assertion"]
    assert {**signed, **shown["claims"]} == signed, "what is shown is what was sent"
    assert set(signed) == {*shown["claims"], *shown["not_recorded"]}
    assert sent not in str(full)

    scopes = [scope for scope in SCOPES if scope != "match_policies:evaluate"]
    cut = await _explained(
        till, told["transaction_id"], await house.token(till.tenant.tenant_id, *scopes)
    )
    assert {(each["score"], each["threshold"]) for each in cut["match"]["scores"]} == {(None, None)}
    assert all(each["passed"] for each in cut["match"]["scores"])
    assert cut["sentence"] == full["sentence"]


async def test_an_undecided_one_and_an_erased_persons_are_explained_too(house: House) -> None:
    till = await _till(house)
    told = (await till.http.post("/v1/device/transactions", json=transaction(PALM))).json()

    async def error(_: str) -> tuple[int, bytes]:
        return 500, b""

    house.vendor.script = error
    body = transaction(PALM)
    assert (await till.http.post("/v1/device/transactions", json=body)).status_code == 503
    house.vendor.script = None
    listed = (
        await till.tenant.api.get("/v1/transactions", params={"min_position": await house.end()})
    ).json()
    (undecided,) = [each for each in listed["items"] if each["decision"] is None]
    open_one = await _explained(till, undecided["id"])
    assert open_one["transaction"]["decision"] is None
    assert open_one["sentence"]["en"].startswith("The palm vendor had an error")
    assert (open_one["match"], open_one["question"], open_one["assertion"]) == (None, None, None)

    user_id = (await _explained(till, told["transaction_id"]))["transaction"]["user_id"]
    erased = await till.tenant.api.post(
        f"/v1/users/{user_id}/dsr/erasure", json={"reference": "DSR-1"}
    )
    assert erased.status_code < 300, erased.text
    after = await _explained(till, told["transaction_id"])
    assert after["sentence"]["en"] == "The palm matched and the product allowed it."


async def test_another_tenants_transaction_is_not_found(house: House) -> None:
    till, stranger = await _till(house), await house.tenant()
    told = (await till.http.post("/v1/device/transactions", json=transaction(PALM))).json()
    for path in (told["transaction_id"], till.id, "txn_0"):
        answered = await stranger.api.get(f"/v1/transactions/{path}/explanation")
        assert (answered.status_code, answered.json()["code"]) == (404, "transaction_not_found")
