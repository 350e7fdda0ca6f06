"""A lane that opened without its product tells it so, over HTTP, until it has been heard."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.house.test_breaker import failing, lane, take, until
from tests.house.world import House, PairedDevice, transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALI = b"the palm of ali at a breaker"


async def pay(till: PairedDevice) -> dict[str, Any]:
    answer = await till.http.post("/v1/device/transactions", json=transaction(ALI))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def advice_of(till: PairedDevice, transaction_id: str) -> str:
    shown = await till.tenant.api.get(f"/v1/transactions/{transaction_id}")
    return str(shown.json()["advice"]) if shown.status_code == 200 else "unknown"


async def test_a_product_that_was_silent_is_told_what_was_allowed_in_its_place(
    house: House,
) -> None:
    till = await lane(house, fail_mode="open", advice_path="/advice")
    told: list[dict[str, Any]] = []
    back = asyncio.Event()

    async def script(asked: dict[str, Any]) -> tuple[int, bytes]:
        if asked["action"] != "advice":
            return await failing(asked)
        told.append(asked)
        return (200, b'{"status":"recorded"}') if back.is_set() else (503, b"")

    house.product.script = script
    answer = await pay(till)
    assert (answer["decision"], answer["stand_in"]) == ("allow", True)

    async def tried() -> bool:
        return bool(told)

    await until(tried)
    back.set()

    async def settled() -> bool:
        return await advice_of(till, answer["transaction_id"]) == "settled"

    await until(settled)
    keys = {each["idempotency_key"] for each in told}
    assert keys == {answer["transaction_id"]}
    assert told[-1]["context"] == {"amount": "5.00", "currency": "SAR"}
    assert (told[-1]["advised_action"], told[-1]["reason"]) == ("pay", "product_5xx")
    async with house.platform.projector_pool.connection() as connection:
        found = await connection.execute(
            "SELECT count(*) FROM deliveries WHERE tenant_id = %s AND kind = 'advice'",
            (till.tenant.tenant_id,),
        )
        assert await found.fetchone() == (1,)


async def test_what_was_allowed_in_a_drill_is_told_as_such(house: House) -> None:
    till = await lane(house, fail_mode="open", advice_path="/advice")
    told: list[dict[str, Any]] = []

    async def script(asked: dict[str, Any]) -> tuple[int, bytes]:
        told.append(asked)
        return 200, b'{"status":"recorded"}'

    house.product.script = script
    soon = datetime.now(UTC) + timedelta(minutes=30)
    await take(till.tenant, "drill", reason="rehearsal", until=soon.isoformat(), devices=[till.id])
    answer = await pay(till)
    assert (answer["decision"], answer["stand_in"]) == ("allow", True)

    async def heard() -> bool:
        return bool(told)

    await until(heard)
    assert (told[0]["action"], told[0]["drill"]) == ("advice", True)
