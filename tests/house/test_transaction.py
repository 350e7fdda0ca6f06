"""The main job through the whole house: a palm, a product, a decision in-band (004 §10.3)."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest

from tests.house.world import House, never, transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALI = b"the palm of ali"
MOBILE = "+966501234567"
PATIENCE_S = 30


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - the listener tells nobody
        await asyncio.sleep(0.01)


async def test_a_known_palm_is_allowed_by_the_product_and_the_answer_says_so(house: House) -> None:
    tenant = await house.tenant()
    till = await house.device(tenant)
    user_id = await house.person(till, MOBILE, ALI)
    answered = await till.http.post("/v1/device/transactions", json=transaction(ALI))
    assert answered.status_code == 200, answered.text
    body = answered.json()
    assert (body["decision"], body["display_message"]) == ("allow", "Approved")
    assert (body["product_reference"], body["ttl_seconds"]) == ("ref_1", 30)
    (call,) = house.product.calls
    assert call["user_id"] == user_id
    assert call["context"] == {"amount": "5.00", "currency": "SAR"}
    names = await house.events(tenant)
    began = names.index("transaction.received")
    assert names[began : began + 4] == [
        "transaction.received",
        "transaction.identified",
        "transaction.authorization_requested",
        "transaction.allowed",
    ]


async def test_the_same_key_is_answered_byte_for_byte_and_charges_once(house: House) -> None:
    tenant = await house.tenant()
    till = await house.device(tenant)
    await house.person(till, MOBILE, ALI)
    body = transaction(ALI)
    first = await till.http.post("/v1/device/transactions", json=body)
    again = await till.http.post("/v1/device/transactions", json=body)
    assert first.content == again.content
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert len(house.product.calls) == 1
    other = await till.http.post(
        "/v1/device/transactions", json={**body, "context": {"amount": "6.00"}}
    )
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_the_route_takes_what_it_is_for_and_no_more(house: House) -> None:
    """It is served without the framework's reading of a request, which refused both."""
    till = await house.device(await house.tenant())
    got = await till.http.get("/v1/device/transactions")
    assert (got.status_code, got.json()["code"]) == (405, "method_not_allowed")
    assert got.headers["allow"] == "POST"
    large = transaction(ALI)
    large["context"] = {"order": "x" * (3 * 1024 * 1024)}
    refused = await till.http.post("/v1/device/transactions", json=large)
    assert (refused.status_code, refused.json()["code"]) == (413, "body_too_large")
    pieces = (b"x" * 1024 * 1024 for _ in range(3))
    refused = await till.http.post("/v1/device/transactions", content=_each(pieces))
    assert (refused.status_code, refused.json()["code"]) == (413, "body_too_large")


async def test_another_spelling_of_the_path_is_the_same_call(house: House) -> None:
    """The framework takes a slash at the end for none, and hands the call over."""
    till = await house.device(await house.tenant())
    await house.person(till, MOBILE, ALI)
    asked = transaction(ALI)
    first = await till.http.post("/v1/device/transactions/", json=asked)
    again = await till.http.post("/v1/device/transactions", json=asked)
    assert first.status_code == 200
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert first.headers["x-request-id"].startswith("req_")


async def _each(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """A body whose length nobody announced."""
    for piece in pieces:
        yield piece


async def test_an_answer_to_nobody_is_not_noted_as_relayed(fresh_house: House) -> None:
    """The till hung up while the product thought: decided, and handed to no connection. The note
    was made whatever had become of the answer."""
    house = fresh_house
    till = await house.device(await house.tenant())
    await house.person(till, MOBILE, ALI)
    asked, decide = asyncio.Event(), asyncio.Event()

    async def slow(_: dict[str, Any]) -> tuple[int, bytes]:
        asked.set()
        await decide.wait()
        return 200, json.dumps(house.product.says).encode()

    house.product.script = slow
    connections = house.edge.connections
    async with asyncio.timeout(PATIENCE_S):
        body = transaction(ALI, deadline_ms=10_000)
        request = asyncio.create_task(till.http.post("/v1/device/transactions", json=body))
        await asked.wait()
        request.cancel()
        await asyncio.wait([request])
        await until(lambda: house.edge.connections < connections)
    decide.set()
    await house.edge.stop(drain_s=PATIENCE_S)
    names = await house.events(till.tenant)
    assert names[names.index("transaction.authorization_requested") + 1 :], "not decided"
    assert "transaction.relayed" not in names


async def test_fifty_requests_with_one_key_ask_the_product_once(house: House) -> None:
    tenant = await house.tenant()
    till = await house.device(tenant)
    await house.person(till, MOBILE, ALI)
    body = transaction(ALI)
    answers = await asyncio.gather(
        *(till.http.post("/v1/device/transactions", json=body) for _ in range(50))
    )
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len({answer.content for answer in answers if answer.status_code == 200}) == 1
    assert len(house.product.calls) == 1


PRODUCT_ANSWERS: list[tuple[tuple[int, Any], str, str]] = [
    (
        (200, {"decision": "deny", "reason_code": "insufficient_balance"}),
        "deny",
        "insufficient_balance",
    ),
    ((200, {"decision": "deny"}), "deny", "product_denied"),
    ((200, {"decision": "yes"}), "deny", "product_malformed"),
    ((200, ["allow"]), "deny", "product_malformed"),
    ((401, {}), "deny", "assertion_rejected"),
    ((403, {}), "deny", "assertion_rejected"),
    ((404, {}), "deny", "product_malformed"),
    ((302, {}), "deny", "product_malformed"),
    ((500, {"decision": "allow"}), "deny", "product_5xx"),
]


@pytest.mark.parametrize(("answer", "decision", "reason"), PRODUCT_ANSWERS)
async def test_what_the_product_says_decides_and_nothing_else_opens(
    house: House, answer: tuple[int, Any], decision: str, reason: str
) -> None:
    tenant = await house.tenant()
    till = await house.device(tenant)
    await house.person(till, MOBILE, ALI)

    async def script(_: dict[str, Any]) -> tuple[int, bytes]:
        return answer[0], json.dumps(answer[1]).encode()

    house.product.script = script
    told = (await till.http.post("/v1/device/transactions", json=transaction(ALI))).json()
    assert (told["decision"], told["reason"]) == (decision, reason)


async def test_a_product_that_hangs_fails_closed_in_time_and_leaves_a_void_to_do(
    house: House,
) -> None:
    tenant = await house.tenant()
    till = await house.device(tenant)
    await house.person(till, MOBILE, ALI)
    house.product.script = never
    answered = await till.http.post("/v1/device/transactions", json=transaction(ALI))
    told = answered.json()
    assert (told["decision"], told["reason"]) == ("deny", "authorize_timeout")
    shown = await tenant.api.get(
        f"/v1/transactions/{told['transaction_id']}", params={"min_position": 1}
    )
    assert shown.status_code in (200, 404)
    assert "transaction.failed_closed" in await house.events(tenant)


async def test_a_lane_that_fails_open_opens_within_its_budget_and_then_closes(
    house: House,
) -> None:
    tenant = await house.tenant()
    service = await tenant.api.get(f"/v1/linked-services/{tenant.service_id}")
    changed = await tenant.api.patch(
        f"/v1/linked-services/{tenant.service_id}",
        json={"fail_mode": "open", "timeout_ms": 50, "stand_in": {"per_user_per_hour": 2}},
        headers={"if-match": service.headers["etag"]},
    )
    assert changed.status_code == 200, changed.text
    till = await house.device(tenant)
    await house.person(till, MOBILE, ALI)
    house.product.script = never
    told = [
        (await till.http.post("/v1/device/transactions", json=transaction(ALI))).json()
        for _ in range(3)
    ]
    assert [(t["decision"], t["stand_in"]) for t in told] == [
        ("allow", True),
        ("allow", True),
        ("deny", False),
    ]
    assert told[2]["reason"] == "stand_in_limit"
    large = transaction(ALI, context={"amount": "100.01", "currency": "SAR"})
    refused = (await till.http.post("/v1/device/transactions", json=large)).json()
    assert (refused["decision"], refused["reason"]) == ("deny", "stand_in_limit")


async def test_an_active_refusal_never_opens_a_lane_that_fails_open(house: House) -> None:
    tenant = await house.tenant()
    service = await tenant.api.get(f"/v1/linked-services/{tenant.service_id}")
    await tenant.api.patch(
        f"/v1/linked-services/{tenant.service_id}",
        json={"fail_mode": "open"},
        headers={"if-match": service.headers["etag"]},
    )
    till = await house.device(tenant)
    await house.person(till, MOBILE, ALI)
    for status in (400, 401, 403, 404, 302):

        async def script(_: dict[str, Any], status: int = status) -> tuple[int, bytes]:
            return status, b"{}"

        house.product.script = script
        told = (await till.http.post("/v1/device/transactions", json=transaction(ALI))).json()
        assert told["decision"] == "deny", status


async def test_an_unknown_palm_is_not_recognized_and_no_product_is_asked(house: House) -> None:
    tenant = await house.tenant()
    till = await house.device(tenant)
    told = (await till.http.post("/v1/device/transactions", json=transaction(b"nobody"))).json()
    assert (told["decision"], told["reason"]) == ("not_recognized", "no_candidate")
    assert house.product.calls == []


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        ({"code": 30008, "msg": "query type forbidden"}, 200, ("deny", "palm_type_not_allowed")),
        ({"code": 50000, "msg": "Milvus error"}, 503, (None, "palm_vendor_error")),
        ("garbage", 503, (None, "palm_vendor_error")),
    ],
)
async def test_what_the_vendor_says_has_one_outcome_each(
    house: House, answer: Any, status: int, told: tuple[str | None, str]
) -> None:
    tenant = await house.tenant()
    till = await house.device(tenant)

    async def script(_: str) -> tuple[int, bytes]:
        return 200, json.dumps(answer).encode()

    house.vendor.script = script
    answered = await till.http.post("/v1/device/transactions", json=transaction(ALI))
    assert answered.status_code == status
    body = answered.json()
    assert (body.get("decision"), body.get("reason") or body.get("code")) == told
    assert house.product.calls == []


async def test_a_failed_vendor_lets_the_same_key_try_again(house: House) -> None:
    tenant = await house.tenant()
    till = await house.device(tenant)
    await house.person(till, MOBILE, ALI)
    body = transaction(ALI)

    async def broken(_: str) -> tuple[int, bytes]:
        return 200, b'{"code": 50000, "msg": "Milvus error"}'

    house.vendor.script = broken
    failed = await till.http.post("/v1/device/transactions", json=body)
    assert (failed.status_code, failed.headers["retry-after"]) == (503, "1")
    house.vendor.script = None
    assert (await till.http.post("/v1/device/transactions", json=body)).json()[
        "decision"
    ] == "allow"


async def test_a_vendor_that_hangs_ends_in_503_within_the_devices_deadline(house: House) -> None:
    tenant = await house.tenant()
    till = await house.device(tenant)
    house.vendor.script = never
    answered = await till.http.post(
        "/v1/device/transactions", json=transaction(ALI, deadline_ms=700)
    )
    assert (answered.status_code, answered.json()["code"]) == (503, "palm_vendor_timeout")


async def test_two_people_whose_scores_are_too_close_are_ambiguous(house: House) -> None:
    tenant = await house.tenant(duplicate_palm_check=False)
    till = await house.device(tenant)
    await house.person(till, MOBILE, ALI)
    await house.person(till, "+966501234568", ALI)
    told = (await till.http.post("/v1/device/transactions", json=transaction(ALI))).json()
    assert (told["decision"], told["reason"]) == ("not_recognized", "ambiguous")


async def test_weak_scores_are_low_confidence(house: House) -> None:
    tenant = await house.tenant()
    till = await house.device(tenant)
    await house.person(till, MOBILE, ALI)
    house.vendor.scores = [0.95, 0.95, 0.95, 0.69]
    told = (await till.http.post("/v1/device/transactions", json=transaction(ALI))).json()
    assert (told["decision"], told["reason"]) == ("not_recognized", "low_confidence")
