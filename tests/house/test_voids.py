"""A product that was too slow is told to undo it, for as long as it takes to say that it did."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest

from tests.house.world import House, PairedDevice, never, transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALI = b"the palm of ali"
MOBILE = "+966501234567"
PATIENCE_S = 60.0


async def _till(house: House) -> PairedDevice:
    """A till whose product has a void endpoint."""
    tenant = await house.tenant()
    service = await tenant.api.get(f"/v1/linked-services/{tenant.service_id}")
    changed = await tenant.api.patch(
        f"/v1/linked-services/{tenant.service_id}",
        json={"void_path": "/void", "timeout_ms": 200},
        headers={"if-match": service.headers["etag"]},
    )
    assert changed.status_code == 200, changed.text
    till = await house.device(tenant)
    await house.person(till, MOBILE, ALI)
    return till


async def _until_settled(till: PairedDevice, transaction_id: str, void: str) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            shown = await till.tenant.api.get(f"/v1/transactions/{transaction_id}")
            if shown.status_code == 200 and shown.json()["void"] == void:
                return dict(shown.json())
            await asyncio.sleep(0.05)


async def test_a_product_that_is_away_at_first_is_told_until_it_acknowledges(house: House) -> None:
    till = await _till(house)
    voids: list[dict[str, Any]] = []

    async def script(asked: dict[str, Any]) -> tuple[int, bytes]:
        if asked["action"] != "void":
            return await never(asked)
        voids.append(asked)
        if len(voids) == 1:
            return 503, b""
        return 200, b'{"status":"not_found"}'

    house.product.script = script
    body = transaction(ALI)
    told = (await till.http.post("/v1/device/transactions", json=body)).json()
    assert (told["decision"], told["reason"]) == ("deny", "authorize_timeout")
    shown = await _until_settled(till, told["transaction_id"], "settled")
    assert (shown["void_needed"], shown["outcome"]) == (True, "fail_closed")
    first, second = voids
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert first["idempotency_key"] == second["idempotency_key"] == told["transaction_id"]
    assert (second["reason"], second["voided_action"]) == ("timeout", "pay")
    await _is_explained(till, told["transaction_id"])


async def _is_explained(till: PairedDevice, transaction_id: str) -> None:
    path = f"/v1/transactions/{transaction_id}/explanation"
    explained = (await till.tenant.api.get(path)).json()
    assert explained["sentence"] == {
        "en": "The palm matched, but the product did not answer in time, and nothing was allowed;"
        " whatever the product allowed is cancelled.",
        "ar": "تطابقت راحة اليد لكن المنتج لم يجب في الوقت المحدد ولم يُسمح بشيء،"
        " وأُلغي ما سمح به المنتج.",
    }
    (void,) = [each for each in explained["deliveries"] if each["kind"] == "void"]
    assert void["destination"] == till.tenant.service_id
    assert next(each["reason"] for each in void["tries"]) is not None
    assert {step["name"] for step in explained["waterfall"]} >= {"authorize", "decided", "voided"}
    assert (explained["question"]["breaker"], explained["question"]["attempt"]) == (
        "let_through",
        1,
    )


async def test_an_allow_that_was_never_shown_is_given_back(house: House) -> None:
    till = await _till(house)
    key = uuid4().hex
    told = (await till.http.post("/v1/device/transactions", json=transaction(ALI, key))).json()
    assert told["decision"] == "allow"

    async def script(asked: dict[str, Any]) -> tuple[int, bytes]:
        assert asked["action"] == "void"
        house.product.charges.pop(asked["idempotency_key"])
        return 200, json.dumps({"status": "voided"}).encode()

    house.product.script = script
    line = {"idempotency_key": key, "outcome": "aborted", "at": "2026-03-01T09:00:00+03:00"}
    taken = await till.http.post("/v1/device/journal", json={"entries": [line]})
    assert taken.json()["voided"] == [told["transaction_id"]]
    await _until_settled(till, told["transaction_id"], "settled")
    assert house.product.charges == {}
    again = await till.http.get(f"/v1/device/transactions/{key}")
    assert again.json() == told
