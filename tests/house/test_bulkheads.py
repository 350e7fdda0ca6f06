"""A tenant whose product hangs takes its share of the house and leaves the rest to the others."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.house.contract import PROBLEM
from tests.house.test_measured import value
from tests.house.world import House, opened, transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENCE_S = 30
PLACES = 8
SHARE = PLACES // 2

PALM = b"the palm of ali"


async def lane(house: House, mobile: str) -> Any:
    """A till of a tenant of its own, with a person who is known there and a patient product."""
    tenant = await house.tenant()
    changed = await tenant.api.patch(
        f"/v1/linked-services/{tenant.service_id}",
        json={"timeout_ms": 10_000},
        headers={"if-match": "*"},
    )
    assert changed.status_code == 200, changed.text
    till = await house.device(tenant)
    await house.person(till, mobile, PALM)
    return till


async def test_a_tenant_whose_product_hangs_does_not_stop_another(
    database: str, tmp_path: Path
) -> None:
    """Seen to fail with `TenantPlaces.enter` empty: one request more of the first tenant was let
    in, and waited for its product instead of being refused."""
    async with opened(database, tmp_path, environ={"LINK_REQUESTS_MAX": str(PLACES)}) as house:
        hanging, other = await lane(house, "+966501234567"), await lane(house, "+966501234568")
        release, waiting = asyncio.Event(), asyncio.Semaphore(0)

        async def by_tenant(asked: dict[str, Any]) -> tuple[int, bytes]:
            if asked["device_id"] == hanging.id:
                waiting.release()
                await release.wait()
            return 200, json.dumps(house.product.says).encode()

        house.product.script = by_tenant

        def ask(till: Any) -> Any:
            body = transaction(PALM, deadline_ms=10_000)
            return till.http.post("/v1/device/transactions", json=body)

        running = [asyncio.create_task(ask(hanging)) for _ in range(SHARE)]
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(SHARE):
                await waiting.acquire()
        refused = await ask(hanging)
        assert (refused.status_code, refused.json()["code"]) == (429, "tenant_at_capacity")
        assert refused.headers["content-type"] == PROBLEM
        assert refused.headers["retry-after"] == "1"
        served = await ask(other)
        assert (served.status_code, served.json()["decision"]) == (200, "allow")
        release.set()
        for answer in await asyncio.gather(*running):
            assert answer.status_code == 200
        assert (await ask(hanging)).status_code == 200
        assert await value(house, 'link_refusals_total{code="tenant_at_capacity"}') == 1
        assert await value(house, 'link_requests_total{operation="transact",status="200"}') >= 6


async def test_what_is_done_in_the_background_waits_for_no_request(house: House) -> None:
    """Seen to fail while sweeper and requests shared a pool: at a busy start, when a pool has one
    connection yet, whole rounds were given up (`rounds_interrupted`, PoolTimeout)."""
    platform = house.platform
    async with AsyncExitStack() as held:
        for _ in range(platform.projector_pool.max_size):
            await held.enter_async_context(platform.projector_pool.connection(timeout=PATIENCE_S))
        assert await platform.duties.sweeper.sweep() >= 0
