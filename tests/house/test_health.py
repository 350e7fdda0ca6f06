"""An outage of a product and of the vendor, as their tenants see it; and who asks."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio

from application.ports.health import Probed
from domain.health import PALM_VENDOR, health_id
from domain.ids import PLATFORM
from infrastructure.products.health_book import PostgresHealthBook
from infrastructure.webhooks.message import body
from tests.house.test_measured import value
from tests.house.world import House, Tenancy, opened

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENCE_S = 60.0


@pytest_asyncio.fixture(loop_scope="session")
async def watched(database: str, tmp_path: Path) -> AsyncIterator[House]:
    """A house of its own: monitors ask every product of a house."""
    async with opened(database, tmp_path) as found:
        yield found


async def minutes(house: House, count: int) -> None:
    """Have the house's monitor do what it does in so many minutes, by the house's clock."""
    for _ in range(count):
        house.clock.shift += timedelta(seconds=70)
        await house.platform.duties.watching.health.round()


async def shown(tenant: Tenancy, path: str) -> Any:
    answered = await tenant.api.get(path)
    assert answered.status_code == 200, answered.text
    return answered.json()


async def test_an_outage_is_told_shown_and_over_again(watched: House) -> None:
    tenant, other = await watched.tenant(), await watched.tenant("Other")
    path = f"/v1/linked-services/{tenant.service_id}"
    await watched.platform.runner.wait(await watched.end(), "linked_services", PATIENCE_S)
    assert (await shown(tenant, f"{path}/health"))["status"] == "unknown"
    await minutes(watched, 1)
    assert (await shown(tenant, path))["health"]["status"] == "healthy"
    assert (await shown(tenant, "/v1/health"))["unhealthy"] == []
    watched.product.health = 503
    await minutes(watched, 3)
    (listed,) = (await shown(tenant, "/v1/linked-services"))["items"]
    assert listed["health"]["status"] == "unhealthy"
    assert (listed["health"]["reason"], listed["health"]["failures"]) == ("status_503", 3)
    banner = await shown(tenant, "/v1/health")
    assert [each["id"] for each in banner["unhealthy"]] == [tenant.service_id]
    assert banner["unhealthy"][0]["health"]["failing_since"] is not None
    assert [each["id"] for each in (await shown(other, "/v1/health"))["unhealthy"]] == [
        other.service_id
    ]
    assert await value(watched, 'link_unhealthy{kind="linked_service"}') == 2
    watched.product.health = 204
    await minutes(watched, 2)
    assert (await shown(tenant, f"{path}/health"))["status"] == "healthy"
    assert (await shown(tenant, "/v1/health"))["unhealthy"] == []
    stream = health_id(UUID(hex=tenant.service_id.partition("_")[2]))
    past = await watched.platform.log.load(tenant.tenant_id, stream)
    told = [msgspec.json.decode(body(past, version)) for version in (1, 2)]
    assert [each["type"] for each in told] == [
        "linked_service.unhealthy",
        "linked_service.recovered",
    ]
    assert {each["data"]["id"] for each in told} == {tenant.service_id}
    assert len(past) == 2
    version = (await tenant.api.get(path)).headers["etag"]
    assert version == '"1"', "health moves nobody's ETag"


async def test_the_vendor_s_outage_is_shown_to_every_tenant(watched: House) -> None:
    tenant = await watched.tenant()

    async def down(_: str) -> tuple[int, bytes]:
        return 200, b'{"code": 50000, "msg": "Milvus error"}'

    watched.vendor.script = down
    await minutes(watched, 3)
    vendor = (await shown(tenant, "/v1/health"))["palm_vendor"]
    assert (vendor["status"], vendor["reason"]) == ("unhealthy", "internal_error")
    assert await value(watched, 'link_unhealthy{kind="palm_vendor"}') == 1
    watched.vendor.script = None
    await minutes(watched, 1)
    assert (await shown(tenant, "/v1/health"))["palm_vendor"]["status"] == "healthy"
    past = await watched.platform.log.load(PLATFORM, health_id(PALM_VENDOR))
    assert [each.event.NAME for each in past] == [
        "palm_vendor.became_unhealthy",
        "palm_vendor.became_healthy",
    ]


async def test_a_worker_asks_by_itself(watched: House) -> None:
    tenant = await watched.tenant()
    await watched.platform.duties.watch()
    async with asyncio.timeout(PATIENCE_S):
        path = f"/v1/linked-services/{tenant.service_id}/health"
        while (await shown(tenant, path))["status"] != "healthy":
            continue


async def test_a_probe_that_somebody_noted_meanwhile_is_not_counted_twice(watched: House) -> None:
    tenant = await watched.tenant()
    await watched.platform.runner.wait(await watched.end(), "linked_services", PATIENCE_S)
    book, now = PostgresHealthBook(watched.platform.projector_pool), watched.clock.now()
    service_id = UUID(hex=tenant.service_id.partition("_")[2])
    (due,) = [each for each in await book.due(now, 50) if each.subject_id == service_id]
    failed, later = Probed(healthy=False, latency_s=0.1, reason="timeout"), now + timedelta(hours=1)
    noted = await asyncio.gather(*(book.note(due, failed, now, later) for _ in range(8)))
    assert sorted(noted, key=str) == [1] + [None] * 7
    due = msgspec.structs.replace(due, checks=1)
    noted = await asyncio.gather(*(book.note(due, failed, now, later) for _ in range(8)))
    assert sorted(noted, key=str) == [2] + [None] * 7
    assert service_id not in {each.subject_id for each in await book.due(now, 50)}
    assert service_id in {each.subject_id for each in await book.due(later, 50)}
