"""An integrator without a device tries a product, and a live tenant cannot."""

import json

import jwt
import pytest

from tests.house.world import House, Tenancy

pytestmark = pytest.mark.asyncio(loop_scope="session")

PALM = b"the palm of somebody who tries"
PATH = "/v1/simulate/transactions"
ASKED = {"product_key": "wallet", "action": "pay", "context": {"amount": "5.00"}}


async def _person(house: House, tenant: Tenancy) -> str:
    till = await house.device(tenant)
    return await house.person(till, house.mobile(), PALM)


async def test_a_product_is_tried_end_to_end_and_everything_says_so(house: House) -> None:
    tenant = await house.tenant(sandbox=True)
    user_id = await _person(house, tenant)
    queries = house.vendor.queries
    key = {"Idempotency-Key": "a-simulation-0000001"}
    body = {**ASKED, "palm": "match", "user_id": user_id}
    first = await tenant.api.post(PATH, json=body, headers=key)
    assert first.status_code == 200, first.text
    told = first.json()
    assert (told["answer"]["decision"], told["answer"]["display_message"]) == ("allow", "Approved")
    explanation = told["explanation"]
    assert explanation["simulated"] is True
    assert explanation["sentence"]["en"] == "The palm matched and the product allowed it."
    assert explanation["assertion"]["claims"]["simulated"] is True
    sent = house.product.headers[-1]["authorization"].removeprefix("Bearer ")
    assert jwt.decode(sent, options={"verify_signature": False})["simulated"] is True
    assert house.vendor.queries == queries, "no palm vendor was asked"

    again = await tenant.api.post(PATH, json=body, headers=key)
    assert again.json()["answer"] == told["answer"]
    assert len(house.product.calls) == 1
    evaluated = await tenant.api.post("/v1/match-policies/evaluate", json={"fail_mode": "open"})
    assert evaluated.status_code == 200, evaluated.text


async def test_the_answer_of_a_failing_vendor_is_none(house: House) -> None:
    tenant = await house.tenant(sandbox=True)
    told = (await tenant.api.post(PATH, json={**ASKED, "palm": "vendor_timeout"})).json()
    assert told["answer"] is None
    assert told["explanation"]["transaction"]["outcome"] == "vendor_error"
    unclear = await tenant.api.post(PATH, json={**ASKED, "palm": "match"})
    assert (unclear.status_code, unclear.json()["code"]) == (400, "invalid_request")


async def test_a_live_tenant_is_refused_and_its_product_not_asked(house: House) -> None:
    tenant = await house.tenant()
    user_id = await _person(house, tenant)
    refused = await tenant.api.post(PATH, json={**ASKED, "palm": "match", "user_id": user_id})
    assert (refused.status_code, refused.json()["code"]) == (403, "tenant_not_sandbox")
    assert not house.product.calls
    assert "simulated" not in json.dumps(await house.events(tenant))
