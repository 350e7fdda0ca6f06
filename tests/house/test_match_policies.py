"""`POST /v1/match-policies/evaluate`: past transactions judged again, over the wire."""

from typing import Any

import pytest

from tests.house.world import THRESHOLDS, House, Tenancy, transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")

IN_FORCE = {"rule": "all", "margin": 0.05}
STRICT = {"rule": "all", "minimum": [0.99, 0.99, 0.99, 0.99]}


async def evaluated(tenant: Tenancy, **asked: Any) -> dict[str, Any]:
    answered = await tenant.api.post("/v1/match-policies/evaluate", json=asked)
    assert answered.status_code == 200, answered.text
    found: dict[str, Any] = answered.json()
    return found


async def past_of(house: House) -> tuple[Tenancy, list[str], int]:
    """A tenant with three allows at a till, one at a gate, and somebody whom nobody knows."""
    tenant = await house.tenant(duplicate_palm_check=False)
    till, gate = await house.device(tenant), await house.device(tenant, "gate")
    palm = b"palm of " + tenant.tenant_id.bytes
    await house.person(till, house.mobile(), palm)
    began = await house.end()
    told: list[str] = []
    for device, shown in ((till, palm), (till, palm), (gate, palm), (till, b"x"), (till, palm)):
        asked = transaction(shown)
        answered = await device.http.post("/v1/device/transactions", json=asked)
        told.append(str(answered.json()["transaction_id"]))
    return tenant, told, began


async def test_the_policy_in_force_flips_nothing_and_a_stricter_one_names_what_it_would(
    house: House,
) -> None:
    tenant, told, began = await past_of(house)
    same = await evaluated(tenant, match_policy=IN_FORCE)
    assert (same["evaluated"], same["flipped"], same["not_evaluable"]) == (5, 0, 0)
    assert (same["effects"], same["transactions"], same["next"]) == ({}, [], None)
    strict = await evaluated(tenant, match_policy=STRICT)
    assert strict["effects"] == {"not_recognized": 4}
    assert strict["by_device_type"] == {
        "gate": {"evaluated": 1, "flipped": 1},
        "pos": {"evaluated": 4, "flipped": 3},
    }
    flips = strict["transactions"]
    assert [flip["transaction_id"] for flip in flips] == [*told[:3], told[4]]
    assert {flip["reason"] for flip in flips} == {"low_confidence"}
    assert {flip["recorded"] for flip in flips} == {"transaction.allowed"}
    at_the_gate = await evaluated(tenant, match_policy=STRICT, device_type="gate")
    assert (at_the_gate["evaluated"], at_the_gate["flipped"]) == (1, 1)
    before = await evaluated(tenant, match_policy=STRICT, to=str(began))
    assert before["evaluated"] == 0
    last = await evaluated(tenant, **{"match_policy": STRICT, "from": str(flips[-2]["position"])})
    assert [flip["transaction_id"] for flip in last["transactions"]] == told[4:]


async def test_pages_add_up_to_the_whole(house: House) -> None:
    tenant, _, _ = await past_of(house)
    whole = await evaluated(tenant, match_policy=STRICT)
    asked: dict[str, Any] = {"match_policy": STRICT, "limit": 1, "to": str(whole["to_position"])}
    flips: list[Any] = []
    counted = 0
    while True:
        page = await evaluated(tenant, **asked)
        assert len(page["transactions"]) <= 1
        flips += page["transactions"]
        counted += page["evaluated"]
        if page["next"] is None:
            break
        asked["cursor"] = page["next"]
    assert (flips, counted) == (whole["transactions"], whole["evaluated"])


async def test_a_lane_that_failed_closed_might_have_stood_in(house: House) -> None:
    tenant = await house.tenant(duplicate_palm_check=False)
    till = await house.device(tenant)
    palm = b"palm of " + tenant.tenant_id.bytes
    await house.person(till, house.mobile(), palm)

    async def broken(_: dict[str, Any]) -> tuple[int, bytes]:
        return 500, b"{}"

    house.product.script = broken
    closed = (await till.http.post("/v1/device/transactions", json=transaction(palm))).json()
    assert closed["reason"] == "product_5xx"
    found = await evaluated(tenant, fail_mode="open")
    (flip,) = found["transactions"]
    assert (flip["would_be"], flip["recorded_reason"]) == ("stand_in", "product_5xx")
    assert (await evaluated(tenant, fail_mode="closed"))["flipped"] == 0
    assert (await evaluated(tenant, fail_mode="open", product_key="door"))["flipped"] == 0


async def test_an_evaluation_changes_nothing_but_says_that_it_was_made(house: House) -> None:
    tenant, _, _ = await past_of(house)
    before = await house.events(tenant)
    await evaluated(tenant, match_policy=STRICT)
    after = await house.events(tenant)
    told = after[len(before) :]
    assert "audit.read" in told
    # The notes of answers relayed come on their own time.
    assert set(told) <= {"audit.read", "transaction.relayed", "projection.digested"}


async def test_another_tenants_transactions_are_not_among_them(house: House) -> None:
    await past_of(house)
    ours = await house.tenant()
    assert (await evaluated(ours, match_policy=STRICT))["evaluated"] == 0
    assert max(THRESHOLDS) < 0.95


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({}, 400, "candidate_missing"),
        ({"match_policy": {"minimum": [0.5, 0.5, 0.5]}}, 400, "invalid_request"),
        ({"match_policy": {"minimum": [0.5, 0.5, 0.5, 1.5]}}, 400, "invalid_request"),
        ({"match_policy": {"margin": -0.1}}, 400, "invalid_request"),
        ({"match_policy": {"k": 5}}, 400, "invalid_request"),
        ({"match_policy": {"surprise": 1}}, 400, "invalid_request"),
        ({"fail_mode": "ajar"}, 400, "invalid_request"),
        ({"fail_mode": "open", "limit": 0}, 400, "invalid_request"),
        ({"fail_mode": "open", "limit": 201}, 400, "invalid_request"),
        ({"fail_mode": "open", "from": "yesterday"}, 400, "as_of_invalid"),
        ({"fail_mode": "open", "to": "9" * 18}, 400, "as_of_in_future"),
        ({"fail_mode": "open", "from": "2", "to": "1"}, 422, "range_invalid"),
        ({"fail_mode": "open", "cursor": "zzz"}, 400, "cursor_invalid"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(
    house: House, asked: dict[str, Any], status: int, code: str
) -> None:
    tenant = await house.tenant()
    answered = await tenant.api.post("/v1/match-policies/evaluate", json=asked)
    assert (answered.status_code, answered.json()["code"]) == (status, code), answered.text
